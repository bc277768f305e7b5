/**
 * What the client needs from the outside. Tests put a clock of their own here.
 *
 * @typedef {object} Env
 * @property {() => number} now wall clock, ms. Not the monotonic one: it stands still while some laptops sleep
 * @property {() => number} random uniform in [0, 1)
 * @property {(run: () => void, ms: number) => any} setTimeout
 * @property {(timer: any) => void} clearTimeout
 * @property {any} WebSocket constructor with the interface of the browser's
 * @property {any} page where `visibilitychange`, `online` and `pageshow` arrive: the window, or undefined
 */

/**
 * @param {Partial<Env>} [given]
 * @returns {Env}
 */
export function environment(given) {
  const world = /** @type {any} */ (globalThis);
  return {
    now: () => Date.now(),
    random: () => Math.random(),
    // Called through arrows: browsers refuse these functions as methods of another object.
    setTimeout: (run, ms) => world.setTimeout(run, ms),
    clearTimeout: (timer) => world.clearTimeout(timer),
    WebSocket: world.WebSocket,
    page: world.window,
    ...given,
  };
}

/**
 * Calls `wake` when the machine or the page may have slept. The events come in bursts; the listener must bear that.
 *
 * @param {any} page
 * @param {() => void} wake
 * @returns {() => void} stops watching
 */
export function watchWake(page, wake) {
  if (!page?.addEventListener) return () => {};
  const visible = () => page.document?.visibilityState !== 'hidden' && wake();
  // `visibilitychange` is fired at the document and bubbles to the window.
  for (const name of ['visibilitychange', 'online', 'pageshow']) page.addEventListener(name, visible);
  return () => {
    for (const name of ['visibilitychange', 'online', 'pageshow']) page.removeEventListener(name, visible);
  };
}

/** 128 random bits as text. @returns {string} */
export function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
