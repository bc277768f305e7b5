import { Backoff } from './backoff.js';
import { Channel } from './channel.js';
import { Emitter } from './emitter.js';
import { environment, watchWake } from './env.js';
import { EverwireError } from './error.js';
import { Link } from './link.js';
import { verdict } from './verdict.js';

/**
 * @typedef {'idle' | 'connecting' | 'connected' | 'waiting' | 'closed'} ClientState
 *
 * @typedef {object} ClientStateEvent
 * @property {ClientState} state
 * @property {number} [retry_in_ms] with `waiting`
 * @property {number} [code] with `waiting` and `closed`: the close code of the connection that ended
 * @property {string} [reason] with `waiting` and `closed`, in words
 * @property {boolean} [resumed] with `connected`: still the same member as before the break
 *
 * @typedef {object} ClientOptions
 * @property {string | (() => string | Promise<string>)} [token] a function is asked anew for every connection, and
 *   before its token ends
 * @property {string} [name] of the application, for the server's log
 * @property {any} [WebSocket] where the runtime has none, the one of the `ws` package
 * @property {Partial<import('./env.js').Env>} [env] another clock, for tests
 *
 * @typedef {{ state: ClientStateEvent, error: EverwireError, channel: Channel }} ClientEvents `error`: what the server
 *   refused without being asked for an answer; `channel`: the server subscribed this client to one that was not named
 *   here yet, and its messages follow: listen to it now
 */

const QUEUE_MAX = 1_000;
// The server knows a message id for 5 minutes; a repetition must arrive within them.
const REPEAT_MS = 270_000;
const OVERLAP_MS = 5_000;
const WARN_AFTER = 5;
// A token is replaced when so much of its time is left, but not long before its end.
const RENEW_PART = 0.25;
const RENEW_MS = 60_000;
// Where our clock is wrong, or the backend does not answer: not more often than this.
const RENEW_AGAIN_MS = 10_000;
const TIMER_MAX_MS = 2 ** 31 - 1;
const LOOKS_LIKE = 'one looks like wss://example.com/ws, or like /ws in a page that the server sent';

/**
 * A connection that comes back. It opens with the first thing it is needed for and goes on until `close()`, or until the
 * server says that coming back is no use (`state` is then `closed`, with the reason).
 *
 * What becomes of commands over a break: those not sent yet wait for the next connection, in their order. Of those sent
 * and not answered, publishes are repeated (see `Channel.publish`), all others reject with `disconnected`.
 *
 * @extends {Emitter<ClientEvents>}
 */
export class Client extends Emitter {
  /** @type {ClientState} */
  state = 'idle';
  /** Public id of this connection, as others see it in `from` and in presence. @type {string | undefined} */
  id;
  /** What the server allows: `message_bytes`, `channels`, `commands_per_second`. @type {Record<string, number>} */
  limits = {};

  /** As it was given. */
  #given;
  /** '': it can't be one. */
  #url;
  #options;
  #env;
  #backoff;
  /** @type {Map<string, Channel>} */
  #channels = new Map();
  /** Commands that were not sent on any link that lives. @type {import('./link.js').Command[]} */
  #queue = [];
  #next_id = 1;
  /** The link in use. @type {Link | null} */
  #link = null;
  /** The link that is being opened. @type {Link | null} */
  #next = null;
  /** Secret by which the server knows us again. @type {string | undefined} */
  #session;
  #spread_ms = 0;
  /** @type {any} */
  #timer;
  /** When the next token is fetched. @type {any} */
  #renewal;
  /** The server, or `cut()`, named the time: waking up doesn't shorten it. */
  #held = false;
  #held_until = 0;
  #dials = 0;
  /** Tries that failed before anything ever answered. */
  #failed = 0;
  /** Why it is closed. */
  #reason = '';
  /** @type {() => void} */
  #unwatch = () => {};
  /** @type {import('./link.js').LinkOwner} */
  #owner = {
    linkReady: (link, connected) => this.#ready(link, connected),
    linkPush: (link, frame) => this.#push(link, frame),
    linkDown: (link, code, reason, refusal) => this.#down(link, code, reason, refusal),
  };

  /**
   * @param {string | URL} url
   * @param {ClientOptions} options
   */
  constructor(url, options) {
    super(['state', 'error', 'channel']);
    this.#env = environment({ ...(options.WebSocket && { WebSocket: options.WebSocket }), ...options.env });
    if (!this.#env.WebSocket) throw new TypeError('this runtime has no WebSocket: pass one, connect(url, { WebSocket })');
    this.#given = url;
    this.#url = address(url);
    this.#options = options;
    this.#backoff = new Backoff(this.#env.random);
  }

  /**
   * The channel of this name; the same object every time. Its options count when it is first named.
   *
   * @param {string} name
   * @param {import('./channel.js').ChannelOptions} [options]
   * @returns {Channel}
   */
  channel(name, options = {}) {
    let channel = this.#channels.get(name);
    if (!channel) {
      channel = new Channel(name, options, {
        ask: (frame, keep, settle) => this.#ask(frame, keep, settle),
        later: (error, attempt, run) => this.#later(error, attempt, run),
        need: (one) => {
          this.open();
          if (this.#link) one.attach(this.#link);
        },
      });
      this.#channels.set(name, channel);
    }
    return channel;
  }

  /** Connects, if nothing did so yet; and again after `closed`. */
  open() {
    if (this.state !== 'idle' && this.state !== 'closed') return;
    this.#unwatch();
    this.#unwatch = watchWake(this.#env.page, () => this.#wake());
    this.#dial();
  }

  /** The round trip to the server and back, in ms. @returns {Promise<number>} */
  ping() {
    const start = performance.now();
    return new Promise((resolve, reject) => {
      this.#ask({ type: 'ping' }, false, (error) => (error ? reject(error) : resolve(performance.now() - start)));
    });
  }

  /** Leaves for good. Commands that wait reject with `closed`. */
  close() {
    this.#finish(1000, 'closed by the client');
  }

  /**
   * For demonstrations and tests: breaks the connection without a goodbye and stays away for this long.
   *
   * @param {number} ms
   */
  cut(ms) {
    if (this.state === 'idle' || this.state === 'closed') return;
    this.#held_until = this.#env.now() + ms;
    const links = [this.#link, this.#next];
    for (const link of links) link?.drop('cut');
    if (links.some(Boolean)) return;
    this.#dials++;
    this.#retry(0, 1006, 'cut');
  }

  async #dial() {
    this.#env.clearTimeout(this.#timer);
    this.#held = false;
    if (this.#next) return;
    const dial = ++this.#dials;
    if (!this.#link) this.#state({ state: 'connecting' });
    const { token, name } = this.#options;
    let given;
    try {
      given = typeof token === 'function' ? await token() : token;
    } catch (fault) {
      if (dial === this.#dials) this.#retry(this.#backoff.next(), 1006, /** @type {Error} */ (fault).message);
      return;
    }
    if (dial !== this.#dials) return;
    const hello = { type: 'connect', id: this.#next_id++, token: given, name, heartbeat: true, resume: this.#session, since: this.#since() };
    try {
      if (!this.#url) throw new DOMException(LOOKS_LIKE, 'SyntaxError');
      this.#next = new Link(this.#env, new this.#env.WebSocket(this.#url, ['everwire.v1']), hello, this.#owner);
    } catch (fault) {
      // Told when the caller has put all of its listeners in place.
      await null;
      if (dial !== this.#dials) return;
      const { message, name: kind } = /** @type {Error} */ (fault);
      // The address is refused, at once and forever.
      if (kind === 'SyntaxError' || kind === 'SecurityError') this.#impossible(message);
      else this.#retry(this.#backoff.next(), 1006, message);
    }
  }

  /**
   * @param {Link} link
   * @param {any} connected
   */
  #ready(link, connected) {
    const previous = this.#link;
    this.#link = link;
    this.#next = null;
    this.#session = connected.session;
    this.#spread_ms = connected.reconnect_spread_ms ?? 0;
    this.id = connected.client;
    this.limits = connected.limits ?? {};
    const known = connected.resumed === true || connected.user !== undefined;
    // A link that lives beside the new one answers what the server could not recognise on the new one.
    if (previous && known) this.#requeue(previous);
    this.#doubt(known);
    this.#renew(link, connected.expires_at);
    this.#state({ state: 'connected', resumed: connected.resumed === true });
    let open = 1;
    const done = () => --open || previous?.close();
    // First: what the server has subscribed need not be asked for, and its messages follow at once.
    const given = new Set((connected.subscriptions ?? []).map((/** @type {any} */ one) => this.#appoint(link, one)));
    for (const channel of this.#channels.values()) {
      if (given.has(channel)) continue;
      open++;
      channel.attach(link, done);
    }
    done();
    if (previous) this.#env.setTimeout(() => previous.close(), OVERLAP_MS);
    for (const command of this.#queue.splice(0)) this.#send(command);
  }

  /** Positions in channels that the server subscribes us to by itself. */
  #since() {
    const known = [...this.#channels.values()].flatMap((channel) => (channel.resumable ? [[channel.name, channel.position]] : []));
    return known.length ? Object.fromEntries(known) : undefined;
  }

  /**
   * The server has subscribed us.
   *
   * @param {Link} link
   * @param {any} subscribed
   * @returns {Channel}
   */
  #appoint(link, subscribed) {
    const known = this.#channels.has(subscribed.channel);
    const channel = this.channel(subscribed.channel);
    channel.given(link, subscribed);
    // Before its messages, so that a listener misses none; and subscribed, so that it asks for nothing.
    if (!known) this.emit('channel', channel);
    return channel;
  }

  /**
   * Has a new token sent before the one of this link ends, where a function gives tokens.
   *
   * @param {Link} link
   * @param {number} [expires_at]
   * @param {boolean} [again] the last try failed
   */
  #renew(link, expires_at, again = false) {
    this.#env.clearTimeout(this.#renewal);
    const { token } = this.#options;
    if (!expires_at || typeof token !== 'function') return;
    const left = expires_at - this.#env.now();
    const wait = again ? 0 : left - Math.min(left * RENEW_PART, RENEW_MS);
    const retry = () => link === this.#link && this.#renew(link, expires_at, true);
    this.#renewal = this.#env.setTimeout(async () => {
      try {
        const fresh = await token();
        if (link !== this.#link) return;
        this.#ask({ type: 'refresh', token: fresh }, false, (error, reply) => {
          if (link !== this.#link) return;
          if (!error) return this.#renew(link, reply.expires_at);
          this.emit('error', error);
          retry();
        });
      } catch {
        // The old token stands until its end; then the connection ends, and a new one asks again.
        retry();
      }
    }, Math.min(Math.max(wait, RENEW_AGAIN_MS), TIMER_MAX_MS));
  }

  /**
   * @param {Link} link
   * @param {any} frame
   */
  #push(link, frame) {
    if (frame.type === 'subscribed') this.#appoint(link, frame);
    else if (frame.channel !== undefined) this.#channels.get(frame.channel)?.push(link, frame);
    else if (frame.type === 'error') this.emit('error', EverwireError.from(frame));
    else if (frame.type === 'bye' && frame.reconnect && frame.code === 'draining' && link === this.#link) {
      // Over before it is over: the new connection opens first, and takes over.
      this.#again(this.#within(frame));
    }
  }

  /**
   * @param {Link} link
   * @param {number} code
   * @param {string} reason
   * @param {EverwireError} [refusal]
   */
  #down(link, code, reason, refusal) {
    if (link === this.#link && this.state !== 'closed') this.#requeue(link);
    this.#abandon(link);
    if (link === this.#link) this.#link = null;
    else if (link === this.#next) this.#next = null;
    else return; // Its successor is in use already.
    for (const channel of this.#channels.values()) channel.detach(link);
    if (this.state === 'closed') return;
    if (link.ready_at) this.#backoff.ended(this.#env.now() - link.ready_at);
    // The replacement of a drained connection did not come about: try again while the old one lives.
    if (this.#link) return this.#again(this.#backoff.next());
    if (this.#next) return this.#state({ state: 'connecting' });
    this.#lost(link, code, refusal?.message || reason || link.bye?.frame.message || (link.ready_at ? 'connection lost' : 'no connection could be made'), refusal);
  }

  /** There is no such address: nothing waits for it, no channel either. @param {string} why */
  #impossible(why) {
    const reason = `no connection can be made to '${this.#given}': ${why}`;
    console.warn(`everwire: ${reason}`);
    this.#finish(1006, reason);
    for (const channel of this.#channels.values()) channel.refuse(new EverwireError('closed', reason));
  }

  /**
   * A page is never told what a server answered to its upgrade. Somebody who wrote a wrong address would see nothing at
   * all: so it is said once, with the usual causes.
   *
   * @param {string} reason
   */
  #warn(reason) {
    if (++this.#failed === WARN_AFTER) {
      console.warn(`everwire: no connection to ${this.#url} in ${WARN_AFTER} tries (${reason}). Does the server run there? `
        + 'Is the path right (Everwire is at /ws)? Does it admit the origin of this page (its log says so)? Trying goes on.');
    }
  }

  /**
   * The last link is gone: when to come back, if at all.
   *
   * @param {Link} link
   * @param {number} code
   * @param {string} reason
   * @param {EverwireError} [refusal]
   */
  #lost(link, code, reason, refusal) {
    const bye = link.bye?.frame;
    // A function may give a fresh token in place of one that ran out.
    const stale = refusal?.code === 'token_expired' && typeof this.#options.token === 'function';
    if (bye?.reconnect === false || (verdict(code) === 'never' && !stale)) {
      return this.#finish(code, bye?.message ?? reason);
    }
    if (!this.id && !refusal && !bye) this.#warn(reason);
    let wait = this.#backoff.next();
    const [low, high] = bye?.after_ms ?? [0, 0];
    const since = this.#env.now() - (link.bye?.at ?? 0);
    // A range that is over was used, and whoever else was told it is here now too.
    const told = since < high;
    if (verdict(code) === 'at_once' && this.#backoff.attempt === 1) wait = 0;
    else if (told) wait = this.#backoff.between(Math.max(low, since), high) - since;
    else if (link.ready_at && code < 4000) wait += this.#backoff.between(0, this.#spread_ms);
    if (refusal?.retry_after_ms) wait = Math.max(wait, refusal.retry_after_ms);
    this.#held = !!(told || refusal?.retry_after_ms);
    this.#retry(wait, code, reason);
  }

  /**
   * @param {number} wait_ms
   * @param {number} code
   * @param {string} reason
   */
  #retry(wait_ms, code, reason) {
    const hold = this.#held_until - this.#env.now();
    if (hold > 0) {
      this.#held = true;
      wait_ms = hold;
    }
    wait_ms = Math.max(0, Math.round(wait_ms));
    this.#again(wait_ms);
    this.#state({ state: 'waiting', retry_in_ms: wait_ms, code, reason });
  }

  /** @param {number} wait_ms */
  #again(wait_ms) {
    this.#env.clearTimeout(this.#timer);
    this.#timer = this.#env.setTimeout(() => this.#dial(), wait_ms);
  }

  /** @param {any} bye */
  #within({ after_ms: [low, high] = [0, 0] }) {
    return this.#backoff.between(low, high);
  }

  /** The page or the machine may have slept: is the connection still there? */
  #wake() {
    if (this.#link) this.#link.probe();
    else if (this.state === 'waiting' && !this.#held) this.#dial();
  }

  /**
   * @param {number} code
   * @param {string} reason
   */
  #finish(code, reason) {
    this.#dials++;
    this.#reason = reason;
    this.#env.clearTimeout(this.#timer);
    this.#env.clearTimeout(this.#renewal);
    this.#unwatch();
    const links = [this.#link, this.#next];
    this.#state({ state: 'closed', code, reason });
    for (const link of links) link?.close();
    for (const command of this.#queue.splice(0)) command.settle(new EverwireError('closed', reason));
  }

  /**
   * @param {Record<string, any>} frame
   * @param {boolean} keep
   * @param {import('./link.js').Command['settle']} settle
   */
  #ask(frame, keep, settle) {
    if (this.#queue.length >= QUEUE_MAX) return settle(new EverwireError('queue_full', 'no connection, and too many commands wait'));
    if (this.state !== 'closed') this.open();
    // Closed before, or by who heard just now that it opens.
    if (this.state === 'closed') return settle(new EverwireError('closed', this.#reason));
    const id = this.#next_id++;
    // Now: what can't be put in words fails at its caller, and what its caller changes afterwards changes nothing.
    this.#send({ id, text: JSON.stringify({ ...frame, id }), keep, settle, sent_at: 0 });
  }

  /** @param {import('./link.js').Command} command */
  #send(command) {
    if (!this.#link) return void this.#queue.push(command);
    const limit = this.limits.message_bytes;
    // Sending it would end the connection, and for good.
    if (limit && new TextEncoder().encode(command.text).length > limit) {
      return command.settle(new EverwireError('too_large', `more than the ${limit} bytes that this server takes`));
    }
    this.#link.ask(command);
  }

  /**
   * Takes what may be repeated from a link.
   * @param {Link} link
   */
  #requeue(link) {
    const kept = [...link.pending.values()].filter((command) => command.keep);
    for (const command of kept) link.pending.delete(command.id);
    this.#queue.unshift(...kept);
  }

  /**
   * Tells those whose answer will never come.
   * @param {Link} link
   */
  #abandon(link) {
    for (const { keep, settle } of link.pending.values()) {
      if (this.state === 'closed') settle(new EverwireError('closed', this.#reason));
      else if (keep) settle(unknown());
      else settle(new EverwireError('disconnected', 'the connection broke before the answer', { retryable: true }));
    }
    link.pending.clear();
  }

  /**
   * Refuses to repeat what the server could not know again: it would be stored twice.
   * @param {boolean} known the server takes us for the same publisher as before
   */
  #doubt(known) {
    const now = this.#env.now();
    this.#queue = this.#queue.filter(({ sent_at, settle }) => {
      if (!sent_at || (known && now - sent_at < REPEAT_MS)) return true;
      settle(unknown());
      return false;
    });
  }

  /**
   * @param {EverwireError} error
   * @param {number} attempt
   * @param {() => void} run
   */
  #later(error, attempt, run) {
    const wait = error.retry_after_ms ?? this.#backoff.between(300, 300 * 2 ** attempt);
    this.#env.setTimeout(run, wait);
  }

  /** @param {ClientStateEvent} event */
  #state(event) {
    if (event.state === this.state && event.state !== 'waiting') return;
    this.state = event.state;
    this.emit('state', event);
  }
}

function unknown() {
  return new EverwireError('outcome_unknown', 'sent, but the answer was lost: it may be stored or not');
}

/**
 * Absolute, and with a WebSocket's scheme: `/ws` on a page of `https://a` is `wss://a/ws`, and so is `https://a` alone: at
 * the root of a server is its page and its echo, never what a client wants. Empty: it can't be an address.
 *
 * @param {string | URL} url
 */
function address(url) {
  let absolute;
  try {
    absolute = new URL(url, globalThis.location?.href);
  } catch {
    return '';
  }
  absolute.protocol = absolute.protocol.replace('http', 'ws');
  // Words with spaces would be a path of this page.
  if (!/^wss?:$/.test(absolute.protocol) || /\s/.test(`${url}`.trim())) return '';
  if (absolute.pathname === '/' && !absolute.search) absolute.pathname = '/ws';
  return absolute.href;
}
