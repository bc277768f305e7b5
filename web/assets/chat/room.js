// One room: its channel, its transcript, its people. Knows nothing of the page.
import { freshId, me } from './me.js';
import { Names, shown, spoken } from './names.js';

const KEEP = 500;
const REWIND = 100;
const TYPING_MS = 4_000;
// As long as nothing is said about a message that is on its way.
const SOON_MS = 1_000;
// When this page was opened: of two of one name, who came first has it without a number.
const SINCE = Math.round(performance.timeOrigin);

/** Why messages are missing, in words. */
const GAPS = {
  history_expired: 'Messages are missing here: more was written than the server keeps.',
  epoch_changed: 'The server started anew here. What was said while it was away may be missing.',
  slow_consumer: 'Messages are missing here: this connection could not take them in time.',
};

/**
 * @typedef {object} Entry a line of the transcript
 * @property {string} id
 * @property {'message' | 'gap'} kind
 * @property {string} name
 * @property {string} [from] the client who said it; absent on what the backend said, and on what is on its way
 * @property {string} text
 * @property {number} time ms since 1970
 * @property {boolean} mine
 * @property {'sent' | 'sending' | 'failed'} state
 * @property {boolean} [late] it is on its way for so long that this is told
 * @property {string} [trouble] why it failed, in words
 * @property {boolean} [fresh] it was not here when the room was entered
 */

export class Room {
  /** @type {Entry[]} those that the server has, in its order; then those on their way */
  entries = [];
  /** It is in view: what comes is read as it comes. */
  watched = false;
  unread = 0;
  /** The first entry that was unread when the room was looked at last. */
  first_unread = '';
  /** Why there is nothing to see, in words. */
  trouble = '';
  /** This server knows no such rooms. */
  off = false;
  entered = false;
  /** So many messages of the past are still to come before the room is entered. They are shown together, and nothing jumps. */
  awaited = 0;
  /** @type {any[]} */
  members = [];

  #channel;
  #tell;
  #own = new Set(me.sent);
  #names = new Names();
  #recovering = false;
  #typing = false;
  #timer = 0;

  /**
   * @param {any} client
   * @param {string} name
   * @param {(room: Room, what: 'entries' | 'entry' | 'people' | 'recovered' | 'late' | 'arrived' | 'failed', more?: any) => void} tell
   */
  constructor(client, name, tell) {
    this.name = name;
    this.#tell = tell;
    this.#channel = client.channel(`chat:${name}`, { presence: true, rewind: REWIND });
    this.#channel.on('state', (event) => this.#state(event));
    this.#channel.on('message', (message) => this.#message(message));
    this.#channel.on('gap', (gap) => this.#gap(gap));
    this.#channel.on('presence', (event) => {
      this.members = event.members;
      this.#names.here(event.members);
      this.#tell(this, 'people', event);
    });
    this.introduce();
  }

  /** Names of those who type, oneself left out. @param {string} [self] */
  typists(self) {
    return this.members.filter((one) => one.state?.typing === true && one.client !== self).map((one) => spoken(this.called(one)) || 'Somebody');
  }

  /** What a member is called, '' before it gave a name. @param {any} member */
  called({ client, state }) {
    return this.#names.of(client, shown(state?.name));
  }

  /** Who said this. @param {Entry} entry @param {string} [self] */
  speaker({ mine, from, name }, self) {
    return this.#names.of(mine ? self : from, name);
  }

  /** Tells the others who one is. */
  introduce() {
    if (!me.name) return;
    const state = { name: me.name, typing: this.#typing, since: SINCE };
    this.#channel.update(state).catch((error) => console.info('presence was not updated:', error.message));
  }

  /** One types, or has stopped. @param {boolean} now */
  typing(now) {
    clearTimeout(this.#timer);
    if (now) this.#timer = setTimeout(() => this.typing(false), TYPING_MS);
    if (now === this.#typing) return;
    this.#typing = now;
    this.introduce();
  }

  /** @param {string} text */
  async send(text) {
    this.typing(false);
    const entry = { id: freshId(), kind: 'message', name: me.name, text, time: Date.now(), mine: true, state: 'sending' };
    me.send(entry.id);
    this.#own.add(entry.id);
    this.entries.push(entry);
    this.#tell(this, 'entry', entry);
    await this.#publish(entry);
  }

  /** Sends again what failed. @param {Entry} entry */
  async again(entry) {
    entry.state = 'sending';
    entry.trouble = undefined;
    this.#tell(this, 'entries');
    await this.#publish(entry);
  }

  /** @param {Entry} entry */
  async #publish(entry) {
    const late = () => {
      entry.late = true;
      this.#tell(this, 'late', entry);
    };
    const soon = this.#channel.state === 'subscribed' ? setTimeout(late, SOON_MS) : late();
    try {
      await this.#channel.publish({ name: entry.name, text: entry.text }, { message_id: entry.id });
      entry.state = 'sent';
    } catch (error) {
      if (entry.state !== 'sent') this.#failed(entry, error);
    }
    clearTimeout(soon);
    this.#tell(this, entry.late && entry.state === 'sent' ? 'arrived' : 'entries', entry);
    entry.late = false;
  }

  /** @param {Entry} entry @param {any} error */
  #failed(entry, error) {
    entry.state = 'failed';
    entry.trouble = error.code === 'outcome_unknown' ? 'It is not known whether this arrived.' : `Not sent: ${error.message}.`;
    this.#tell(this, 'failed', entry);
  }

  /** The person looks at this room, or away from it. @param {boolean} now */
  watch(now) {
    // The mark stays where it is while one reads, and is gone when one comes back.
    if (this.watched && !now) this.first_unread = '';
    this.watched = now;
    if (!now) return;
    this.unread = 0;
    this.#saw();
  }

  #saw() {
    const { position } = this.#channel;
    if (position) me.saw(this.name, position);
  }

  #state({ state, recovered, replaying, error }) {
    this.trouble = state === 'failed' ? `This room can't be entered: ${error.message}.` : '';
    this.off = state === 'failed' && error.code === 'unknown_channel';
    if (state === 'subscribed') {
      this.#await(this.entered ? 0 : replaying ?? 0);
      this.#recovering = recovered === true;
      if (recovered && replaying > 0) this.#tell(this, 'recovered', replaying);
    } else this.awaited = 0;
    this.#tell(this, 'entries');
  }

  #message({ data, message_id, from, time, offset, replayed }) {
    const seen = me.seen(this.name);
    const old = replayed && !this.#recovering && (!seen || seen.epoch !== this.#channel.position?.epoch || offset <= seen.offset);
    const mine = this.#own.has(message_id);
    const known = this.entries.find((one) => one.id === message_id && one.mine);
    const entry = known ?? { id: message_id ?? freshId(), kind: 'message', from: from?.client, ...words(data), mine };
    // It has its place in the order now; what is still on its way comes after it.
    if (known) this.entries.splice(this.entries.indexOf(known), 1);
    Object.assign(entry, { time, state: 'sent', fresh: !replayed || this.#recovering });
    this.#place(entry);
    if (this.watched) this.#saw();
    else if (!mine && !old && this.unread++ === 0) this.first_unread = entry.id;
    this.#await(replayed ? this.awaited - 1 : 0);
    this.#tell(this, known ? 'entries' : 'entry', entry);
  }

  /** @param {number} count messages of the past that are still to come */
  #await(count) {
    this.awaited = Math.max(0, count);
    this.entered = this.awaited === 0;
  }

  #gap({ reason }) {
    if (!this.entered) return this.#await(0);
    const entry = { id: freshId(), kind: 'gap', name: '', text: GAPS[reason] ?? GAPS.slow_consumer, time: Date.now(), mine: false, state: 'sent', fresh: true };
    this.#place(entry);
    this.#tell(this, 'entry', entry);
  }

  /** Behind all that the server has, before what is on its way. @param {any} entry */
  #place(entry) {
    let end = this.entries.length;
    while (end > 0 && this.entries[end - 1].state !== 'sent') end--;
    this.entries.splice(end, 0, entry);
    if (this.entries.length > KEEP) this.entries.splice(0, this.entries.length - KEEP);
  }
}

/** What a message says. Anybody may publish anything: nothing is taken for granted. @param {any} data */
function words(data) {
  const name = shown(data?.name) || 'unnamed';
  const text = typeof data?.text === 'string' ? data.text : JSON.stringify(data ?? null);
  return { name, text: text.slice(0, 4000) };
}
