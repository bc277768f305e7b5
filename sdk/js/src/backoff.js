const FLOOR_MS = 300;
const CEILING_MS = 20_000;
const STABLE_MS = 30_000;

/**
 * How long to wait before the next try: exponential with full jitter, so that clients that lost the same server
 * don't come back as one. Only a connection that stood for 30 s makes it forget: one that is opened and thrown out at
 * once must not become a fast loop.
 */
export class Backoff {
  /** Tries since the last stable connection. */
  attempt = 0;
  #random;

  /** @param {() => number} random uniform in [0, 1) */
  constructor(random) {
    this.#random = random;
  }

  /** The next wait, 300..20 000 ms. @returns {number} */
  next() {
    const top = Math.min(CEILING_MS, FLOOR_MS * 2 ** ++this.attempt);
    return this.between(FLOOR_MS, top);
  }

  /**
   * A uniform time in a range that the server gave.
   * @param {number} low_ms
   * @param {number} high_ms
   */
  between(low_ms, high_ms) {
    return low_ms + this.#random() * Math.max(0, high_ms - low_ms);
  }

  /** @param {number} stood_ms how long the connection that just ended had been ready */
  ended(stood_ms) {
    if (stood_ms >= STABLE_MS) this.attempt = 0;
  }
}
