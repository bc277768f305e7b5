const GATHER_MS = 300;
const SINGLY = 3;

/**
 * Reads out what happens to those who listen instead of look; a flood as its number.
 *
 * @param {HTMLElement} region an element with `aria-live`
 * @returns {(words: string) => void}
 */
export function announcer(region) {
  let said = [];
  return (words) => {
    said.push(words);
    if (said.length > 1) return;
    setTimeout(() => {
      region.textContent = said.length > SINGLY ? `${said.length} new messages` : said.join('. ');
      said = [];
    }, GATHER_MS);
  };
}
