import { EverwireError } from './error.js';

/**
 * A command and whom to tell. `settle` is called at most once by a link, synchronously with the frame's arrival: what
 * follows in the same packet must find its effect done.
 *
 * @typedef {object} Command
 * @property {number} id
 * @property {string} text the frame
 * @property {boolean} keep may be repeated on another connection
 * @property {number} sent_at when it was first sent, 0: never
 * @property {(error: EverwireError | null, reply?: any) => void} settle
 *
 * @typedef {object} LinkOwner
 * @property {(link: Link, connected: any) => void} linkReady
 * @property {(link: Link, frame: any) => void} linkPush
 * @property {(link: Link, code: number, reason: string, refusal?: EverwireError) => void} linkDown once, at the end
 */

const CONNECT_MS = 10_000;
const PROBE_MS = 5_000;
const GRACE_MS = 10_000;
const TICK_MS = 10_000;
const JUMP_MS = 5_000;

/**
 * One WebSocket, from its opening to its end: says `connect`, matches replies to commands, and finds out when the
 * other side is gone. It never reconnects; that is the client's business.
 */
export class Link {
  /** Commands that wait for their reply. @type {Map<number, Command>} */
  pending = new Map();
  /** When `connected` came, 0: not yet. */
  ready_at = 0;
  /** The server's goodbye and when it came. @type {{ frame: any, at: number } | null} */
  bye = null;

  #env;
  #socket;
  #owner;
  #silence_ms = 0;
  #heard_at;
  #heard = 0;
  #probing = false;
  #over = false;
  /** @type {any} */
  #timer;

  /**
   * @param {import('./env.js').Env} env
   * @param {any} socket a WebSocket that was just created
   * @param {Record<string, any>} hello the `connect` frame
   * @param {LinkOwner} owner
   */
  constructor(env, socket, hello, owner) {
    this.#env = env;
    this.#socket = socket;
    this.#owner = owner;
    this.#heard_at = env.now();
    this.#timer = env.setTimeout(() => this.drop('no answer to connect'), CONNECT_MS);
    socket.onopen = () => this.#write(JSON.stringify(hello));
    socket.onmessage = (/** @type {any} */ event) => this.#receive(event.data, hello.id);
    socket.onclose = (/** @type {any} */ event) => this.#end(event.code ?? 1006, event.reason ?? '');
    // The browser tells nothing here and always follows with `close`; in Node an unheard `error` would be fatal.
    socket.onerror = () => {};
  }

  /** @param {Command} command */
  ask(command) {
    this.pending.set(command.id, command);
    command.sent_at ||= this.#env.now();
    this.#write(command.text);
  }

  /** Asks the other side for a sign of life; without one in 5 s the link is given up. */
  probe() {
    if (this.#probing || this.#over || !this.ready_at) return;
    this.#probing = true;
    const heard = this.#heard;
    // Nobody waits for this id: that anything at all comes back is the answer.
    this.#write(`{"type":"ping","id":${Number.MAX_SAFE_INTEGER}}`);
    this.#env.setTimeout(() => {
      this.#probing = false;
      if (heard === this.#heard) this.drop('no answer to a ping');
    }, PROBE_MS);
  }

  /** Ends it properly. */
  close() {
    this.#end(1000, 'closed by the client', 1000);
  }

  /** Ends it without waiting for the other side. @param {string} reason */
  drop(reason) {
    // Not 1000, which would mean to the server that this member has left for good.
    this.#end(1006, reason, 4900);
  }

  /** @param {string} text */
  #write(text) {
    if (this.#socket.readyState === 1) this.#socket.send(text);
  }

  /**
   * @param {any} text
   * @param {number} hello_id
   */
  #receive(text, hello_id) {
    if (this.#over) return;
    this.#heard++;
    this.#heard_at = this.#env.now();
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return this.drop('the server sent what is no JSON');
    }
    const command = this.pending.get(frame.id);
    if (!this.ready_at) {
      if (frame.type === 'connected') this.#connected(frame);
      else if (frame.type === 'error' && (frame.id ?? hello_id) === hello_id) {
        this.#end(frame.retryable ? 1013 : 4001, frame.message, 1000, EverwireError.from(frame));
      } else if (frame.type === 'bye') this.bye = { frame, at: this.#heard_at };
    } else if (command) {
      this.pending.delete(frame.id);
      if (frame.type === 'error') command.settle(EverwireError.from(frame));
      else command.settle(null, frame);
    } else if (frame.type === 'ping') this.#write('{"type":"pong"}');
    else {
      if (frame.type === 'bye') this.bye = { frame, at: this.#heard_at };
      this.#owner.linkPush(this, frame);
    }
  }

  /** @param {any} frame */
  #connected(frame) {
    this.ready_at = this.#env.now();
    this.#silence_ms = (frame.heartbeat_ms || 25_000) + GRACE_MS;
    this.#env.clearTimeout(this.#timer);
    this.#watch();
    this.#owner.linkReady(this, frame);
  }

  /** Looks from time to time whether the other side is silent for too long, or the clock has jumped (a sleep). */
  #watch() {
    const due = this.#env.now() + TICK_MS;
    this.#timer = this.#env.setTimeout(() => {
      const now = this.#env.now();
      if (now - due > JUMP_MS || now - this.#heard_at > this.#silence_ms) this.probe();
      this.#watch();
    }, TICK_MS);
  }

  /**
   * @param {number} code
   * @param {string} reason
   * @param {number} [say] close the socket with this code
   * @param {EverwireError} [refusal]
   */
  #end(code, reason, say, refusal) {
    if (this.#over) return;
    this.#over = true;
    this.#env.clearTimeout(this.#timer);
    const socket = this.#socket;
    socket.onopen = socket.onmessage = socket.onclose = () => {};
    if (say) socket.close(say);
    this.#owner.linkDown(this, code, reason, refusal);
  }
}
