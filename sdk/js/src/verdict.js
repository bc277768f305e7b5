/**
 * What a close code asks of the client (protocol, section 2, "Close codes").
 *
 * @param {number} code
 * @returns {'never' | 'backoff' | 'at_once'}
 */
export function verdict(code) {
  if (code >= 4000 && code < 4100) return 'never';
  if (code >= 4200 && code < 4300) return 'at_once';
  return [1000, 1002, 1003, 1007, 1008, 1009, 1010].includes(code) ? 'never' : 'backoff';
}
