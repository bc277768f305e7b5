/**
 * A refused command, or a connection that is over. `code` is a code of the protocol's table, or one of the client's own:
 *
 * - `disconnected`: the connection broke before the answer came, and the command is not one that may be repeated blindly.
 * - `outcome_unknown`: a publish was sent, its answer never came, and a repetition could no longer be recognised as one.
 * - `closed`: the client is closed; the message says why. - `queue_full`: too many commands wait for a connection.
 */
export class EverwireError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {{ retryable?: boolean, retry_after_ms?: number, docs?: string }} [more]
   */
  constructor(code, message, more = {}) {
    super(message);
    this.name = 'EverwireError';
    /** @type {string} */
    this.code = code;
    /** Whether the same command may succeed later without a change. @type {boolean} */
    this.retryable = more.retryable === true;
    /** When to try again, where the server said so. @type {number | undefined} */
    this.retry_after_ms = more.retry_after_ms;
    /** Path of the page that explains the code. @type {string | undefined} */
    this.docs = more.docs;
  }

  /**
   * @internal
   * @param {any} frame an `error` frame
   */
  static from(frame) {
    return new EverwireError(frame.code, frame.message, frame);
  }
}
