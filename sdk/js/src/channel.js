import { Emitter } from './emitter.js';
import { EverwireError } from './error.js';
import { Presence } from './presence.js';
import { randomId } from './env.js';
import { fromBase64, toBase64 } from './binary.js';

/**
 * @typedef {{ epoch: string, offset: number }} Position a place in a channel's stream
 *
 * @typedef {object} ChannelOptions
 * @property {boolean} [recover] after a break, ask for what was missed (default true)
 * @property {boolean} [presence] listen to who comes and goes
 * @property {number} [rewind] on entry, ask for so many of the newest messages
 * @property {Position} [since] on entry, go on behind this position, kept from an earlier visit
 * @property {boolean} [echo] get one's own messages too (default true)
 * @property {number} [max_rate] at most so many live messages a second, the newest; what is skipped is no gap
 * @property {string} [token] for channels that want one
 *
 * @typedef {object} Message
 * @property {string} channel
 * @property {any} data what was published; undefined if it was bytes
 * @property {Uint8Array} [binary] the bytes, if it was bytes
 * @property {number} [offset] absent on volatile messages
 * @property {string} [message_id]
 * @property {{ client: string, user?: string, info?: any }} [from] absent when the backend published
 * @property {number} time ms since 1970 UTC
 * @property {Record<string, string>} [tags]
 * @property {boolean} replayed it was published before this (re)subscription, and came out of the history
 *
 * @typedef {object} Gap messages after `from` up to and including `to` can't be delivered
 * @property {Position} [from]
 * @property {Position} [to] both absent for volatile messages
 * @property {string} reason `history_expired`, `epoch_changed` or `slow_consumer`
 *
 * @typedef {'idle' | 'subscribing' | 'subscribed' | 'failed'} ChannelState
 *
 * @typedef {object} ChannelStateEvent
 * @property {ChannelState} state `failed` is final until `subscribe()` is called again
 * @property {boolean} [recovered] with `subscribed` after a break: whether everything missed follows
 * @property {number} [replaying] with `subscribed`: how many messages of the past follow
 * @property {EverwireError} [error] with `failed`
 *
 * @typedef {object} PublishOptions
 * @property {string} [message_id] one's own idempotency key, at most 64 bytes
 * @property {Record<string, string>} [tags]
 * @property {boolean} [volatile] for who is here now only: not stored, not repeated after a break
 *
 * @typedef {object} HistoryOptions
 * @property {number} [limit] 1..1 000
 * @property {Position} [since] exclusive
 * @property {Position} [before] exclusive
 * @property {boolean} [reverse] newest first
 *
 * @typedef {{ message: Message, gap: Gap, presence: import('./presence.js').PresenceEvent, state: ChannelStateEvent }} ChannelEvents
 *
 * @typedef {object} Asks what a channel needs of its client
 * @property {(frame: Record<string, any>, keep: boolean, settle: (error: EverwireError | null, reply?: any) => void) => void} ask
 * @property {(error: EverwireError, attempt: number, run: () => void) => void} later runs it after the time that the
 *   server asked for, else after a back-off
 * @property {(channel: Channel) => void} need connects if that is still to be done; attaches the channel
 */

const TRIES = 5;

/**
 * One channel. It subscribes with its first listener and then stays subscribed over every break of the connection,
 * until `unsubscribe()`. Stored messages come in order and each once.
 *
 * @extends {Emitter<ChannelEvents>}
 */
export class Channel extends Emitter {
  /** @readonly @type {string} */
  name;
  /** @type {ChannelState} */
  state = 'idle';
  /** The newest message seen; pass it as `since` to go on from here on another day. @type {Position | null} */
  position = null;

  #options;
  #asks;
  /** @type {Presence | null} */
  #presence = null;
  /** What `update()` said last; said again after every subscribe. @type {any} */
  #own_state;
  #wanted = false;
  /** The server subscribed us, once at least. */
  #by_server = false;
  /** The link that delivers. @type {any} */
  #link = null;
  /** The link that was asked, from the question on. @type {any} */
  #asked = null;
  /** Counts questions: the answer to an older one changes nothing. */
  #turn = 0;
  #epoch = '';
  /** Offsets up to here are the past of this subscription. */
  #top = -1;

  /**
   * @internal
   * @param {string} name
   * @param {ChannelOptions} options
   * @param {Asks} asks
   */
  constructor(name, options, asks) {
    super(['message', 'gap', 'presence', 'state']);
    this.name = name;
    this.#options = options;
    this.#asks = asks;
    this.position = options.since ?? null;
    if (options.presence) {
      this.#presence = new Presence(
        (frame, settle) => this.#patiently(frame, settle),
        (event) => this.emit('presence', event),
      );
    }
  }

  /** Everybody in the channel, if `presence` is on. */
  get members() {
    return this.#presence?.members ?? [];
  }

  /**
   * Listens, and subscribes if this is the first listener. Returns the function that stops listening.
   *
   * @override
   * @template {keyof ChannelEvents & string} Name
   * @param {Name} name
   * @param {(event: ChannelEvents[Name]) => void} listener
   */
  on(name, listener) {
    const off = super.on(name, listener);
    if (!this.#wanted && this.state === 'idle') this.subscribe();
    return off;
  }

  /** Subscribes; `on()` does it by itself. Needed only after `unsubscribe()` or `failed`. */
  subscribe() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#state({ state: 'subscribing' });
    this.#asks.need(this);
  }

  /** Leaves. No event follows, and the position is forgotten; listeners stay for a later `subscribe()`. */
  unsubscribe() {
    if (!this.#wanted) return;
    this.#wanted = false;
    this.position = null;
    if (this.#link || this.#asked) this.#ask({ type: 'unsubscribe' }, false, () => {});
    this.#leave();
    this.#state({ state: 'idle' });
  }

  /**
   * Publishes a JSON value, or bytes. Resolves when the server has stored it. Over a break it is repeated under the
   * same `message_id`, so that it is stored once; where the server could no longer recognise the repetition it rejects with
   * `outcome_unknown`. With `volatile` nothing is repeated, and a break rejects with `disconnected`.
   *
   * @param {any} data
   * @param {PublishOptions} [options]
   * @returns {Promise<{ position?: Position, duplicate: boolean }>}
   */
  publish(data, { message_id, tags, volatile } = {}) {
    const bytes = data instanceof ArrayBuffer ? new Uint8Array(data) : data;
    const frame = {
      type: 'publish',
      ...(bytes instanceof Uint8Array ? { binary: toBase64(bytes) } : { data: data ?? null }),
      message_id: volatile ? undefined : (message_id ?? randomId()),
      tags,
      volatile,
    };
    return new Promise((resolve, reject) => {
      let attempt = 0;
      const send = () =>
        this.#ask(frame, !volatile, (error, reply) => {
          if (!error) resolve({ position: reply.position, duplicate: reply.duplicate === true });
          else if (error.retryable && !volatile && ++attempt < TRIES) this.#asks.later(error, attempt, send);
          else reject(error);
        });
      send();
    });
  }

  /**
   * Reads what the channel keeps. A page has at most 1 000 messages or 256 KiB; `next` is where the following one
   * starts (pass it as `since`, or as `before` when reversed), absent at the end.
   *
   * @param {HistoryOptions} [options]
   * @returns {Promise<{ messages: Message[], position: Position, next?: Position }>}
   */
  async history({ limit, since, before, reverse } = {}) {
    const reply = await this.#request({ type: 'history', limit, since, before, reverse });
    const messages = reply.messages.map((/** @type {any} */ one) => this.#message(one, true));
    return { messages, position: reply.position, next: reply.next };
  }

  /**
   * Says something about oneself to everybody here (typing, a cursor). Kept and said again after a break.
   *
   * @param {any} state at most 1 KiB as JSON
   */
  async update(state) {
    this.#own_state = state;
    if (!this.#link) return;
    await this.#request({ type: 'presence_update', state }).catch((error) => {
      if (error.code !== 'disconnected') throw error;
    });
  }

  /** @internal Whether `connect` should say where we are: the server may subscribe us before we ask. */
  get resumable() {
    return this.#by_server && this.#wanted && this.#options.recover !== false && this.position !== null;
  }

  /**
   * @internal
   * @param {any} link
   * @param {any} subscribed the server has subscribed us, whoever asked it to
   */
  given(link, subscribed) {
    this.#wanted = this.#by_server = true;
    this.#asked = link;
    // An answer that is on its way is to a question that settled itself.
    this.#turn++;
    this.#subscribed(link, subscribed);
  }

  /**
   * @internal
   * @param {any} link a connection that is ready now
   * @param {() => void} [done] called once when it is known whether the subscription stands
   */
  attach(link, done = () => {}) {
    if (!this.#wanted) return done();
    this.#asked = link;
    const turn = ++this.#turn;
    const { presence, echo, token, rewind, recover, max_rate } = this.#options;
    const since = recover === false && turn > 1 ? undefined : (this.position ?? undefined);
    if (!this.#link) this.#state({ state: 'subscribing' });
    this.#ask({ type: 'subscribe', since, rewind, presence, echo, token, max_rate }, false, (error, reply) => {
      if (turn !== this.#turn) return done();
      if (!error) this.#subscribed(link, reply);
      // A broken link is no refusal: the next one asks again.
      else if (error.code === 'disconnected' || error.code === 'closed') this.#turn++;
      else if (error.retryable) this.#asks.later(error, 1, () => turn === this.#turn && this.attach(link));
      else this.#fail(error);
      done();
    });
  }

  /**
   * @internal
   * @param {EverwireError} error why there will never be a connection
   */
  refuse(error) {
    if (this.#wanted) this.#fail(error);
  }

  /**
   * @internal
   * @param {any} link it is gone
   */
  detach(link) {
    if (this.#asked === link) {
      this.#asked = null;
      this.#turn++;
    }
    if (this.#link !== link) return;
    this.#link = null;
    if (this.#wanted) this.#state({ state: 'subscribing' });
  }

  /**
   * @internal
   * @param {any} link
   * @param {any} frame a push that names this channel
   */
  push(link, frame) {
    // While a drained server's connection lives beside the new one, one of them delivers: else what has no offset comes twice.
    if (this.#link !== link) return;
    if (frame.type === 'message') this.#deliver(frame);
    else if (frame.type === 'gap') {
      if (frame.to) this.position = frame.to;
      this.emit('gap', { from: frame.from, to: frame.to, reason: frame.reason });
    } else if (frame.type === 'unsubscribed') {
      this.#leave();
      if (frame.resubscribe) this.attach(link);
      else this.#fail(EverwireError.from(frame));
    } else if (/^(join|leave|presence_)/.test(frame.type)) this.#presence?.push(frame);
  }

  /**
   * @param {any} link
   * @param {any} reply `subscribed`
   */
  #subscribed(link, reply) {
    const { position, recovered, replaying } = reply;
    this.#link = link;
    this.#epoch = position?.epoch ?? '';
    this.#top = position?.offset ?? -1;
    // Recovered: our own position stands, what we missed follows. Otherwise we are at the top, unless the past that we
    // asked for with `rewind` follows; then our position is whatever comes first.
    if (!recovered) this.position = replaying ? null : (position ?? null);
    this.#state({ state: 'subscribed', recovered, replaying });
    this.#presence?.load();
    if (this.#own_state !== undefined) this.update(this.#own_state).catch(() => {});
  }

  /** @param {any} frame */
  #deliver(frame) {
    const { offset } = frame;
    if (offset !== undefined) {
      if (this.position && offset <= this.position.offset) return;
      this.position = { epoch: this.#epoch, offset };
    }
    this.emit('message', this.#message(frame, offset <= this.#top));
  }

  /**
   * @param {any} frame
   * @param {boolean} replayed
   * @returns {Message}
   */
  #message({ type, binary, ...rest }, replayed) {
    const message = { ...rest, channel: this.name, replayed };
    if (binary !== undefined) message.binary = fromBase64(binary);
    return message;
  }

  /** @param {EverwireError} error */
  #fail(error) {
    this.#wanted = false;
    this.#leave();
    this.#state({ state: 'failed', error });
  }

  #leave() {
    this.#link = this.#asked = null;
    this.#turn++;
  }

  /** @param {ChannelStateEvent} event */
  #state(event) {
    if (event.state === this.state && event.state === 'subscribing') return;
    this.state = event.state;
    this.emit('state', event);
  }

  /**
   * @param {Record<string, any>} frame
   * @param {boolean} keep
   * @param {(error: EverwireError | null, reply?: any) => void} settle
   */
  #ask(frame, keep, settle) {
    this.#asks.ask({ ...frame, channel: this.name }, keep, settle);
  }

  /**
   * Asks until there is an answer that stands.
   * @param {Record<string, any>} frame
   * @param {(error: EverwireError | null, reply?: any) => void} settle
   */
  #patiently(frame, settle, attempt = 1) {
    this.#ask(frame, false, (error, reply) => {
      if (error?.retryable && error.code !== 'disconnected') {
        this.#asks.later(error, attempt, () => this.#patiently(frame, settle, Math.min(attempt + 1, TRIES)));
      } else settle(error, reply);
    });
  }

  /**
   * @param {Record<string, any>} frame
   * @returns {Promise<any>}
   */
  #request(frame) {
    return new Promise((resolve, reject) => {
      this.#ask(frame, false, (error, reply) => (error ? reject(error) : resolve(reply)));
    });
  }
}
