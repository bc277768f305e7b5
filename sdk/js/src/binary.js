// Bytes travel as base64 text in the JSON format.

/** @param {Uint8Array} bytes */
export function toBase64(bytes) {
  let text = '';
  // Not one call with all bytes as arguments: engines limit their number.
  for (const byte of bytes) text += String.fromCharCode(byte);
  return btoa(text);
}

/** @param {string} text */
export function fromBase64(text) {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
