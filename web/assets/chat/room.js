// One room: its channel, its transcript, its people. Knows nothing of the page.
import { freshId, me, NAME_MAX } from './me.js';

const KEEP = 500;
const REWIND = 100;
const TYPING_MS = 4_000;

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
 * @property {string} text
 * @property {number} time ms since 1970
 * @property {boolean} mine
 * @property {'sent' | 'sending' | 'failed'} state
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
  entered = false;
  /** @type {any[]} */
  members = [];

  #channel;
  #tell;
  #own = new Set(me.sent);
  #recovering = false;
  #typing = false;
  #timer = 0;

  /**
   * @param {any} client
   * @param {string} name
   * @param {(room: Room, what: 'entries' | 'entry' | 'people' | 'recovered', more?: any) => void} tell
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
      this.#tell(this, 'people', event);
    });
    this.introduce();
  }

  /** Names of those who type, oneself left out. @param {string} [self] */
  typists(self) {
    return this.members.filter((one) => one.state?.typing === true && one.client !== self).map(nameOf);
  }

  /** Tells the others who one is. */
  introduce() {
    if (!me.name) return;
    const state = { name: me.name, typing: this.#typing };
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
    this.#tell(this, 'entries');
    await this.#publish(entry);
  }

  /** @param {Entry} entry */
  async #publish(entry) {
    try {
      await this.#channel.publish({ name: entry.name, text: entry.text }, { message_id: entry.id });
      if (entry.state !== 'sending') return;
      entry.state = 'sent';
    } catch (error) {
      if (entry.state === 'sent') return;
      entry.state = 'failed';
      entry.trouble = error.code === 'outcome_unknown' ? 'It is not known whether this arrived.' : `Not sent: ${error.message}.`;
    }
    this.#tell(this, 'entries');
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
    if (state === 'subscribed') {
      this.entered = true;
      this.#recovering = recovered === true;
      if (recovered && replaying > 0) this.#tell(this, 'recovered', replaying);
    }
    this.#tell(this, 'entries');
  }

  #message({ data, message_id, time, offset, replayed }) {
    const seen = me.seen(this.name);
    const old = replayed && !this.#recovering && (!seen || seen.epoch !== this.#channel.position?.epoch || offset <= seen.offset);
    const mine = this.#own.has(message_id);
    const known = this.entries.find((one) => one.id === message_id && one.mine);
    const entry = known ?? { id: message_id ?? freshId(), kind: 'message', ...words(data), mine };
    // It has its place in the order now; what is still on its way comes after it.
    if (known) this.entries.splice(this.entries.indexOf(known), 1);
    Object.assign(entry, { time, state: 'sent', fresh: !replayed || this.#recovering });
    this.#place(entry);
    if (this.watched) this.#saw();
    else if (!mine && !old && this.unread++ === 0) this.first_unread = entry.id;
    this.#tell(this, known ? 'entries' : 'entry', entry);
  }

  #gap({ reason }) {
    if (!this.entered) return;
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
  const name = typeof data?.name === 'string' && data.name.trim() ? data.name.slice(0, NAME_MAX) : 'unnamed';
  const text = typeof data?.text === 'string' ? data.text : JSON.stringify(data ?? null);
  return { name, text: text.slice(0, 4000) };
}

/** What a member calls itself. @param {any} member */
export function nameOf(member) {
  const { name } = member.state ?? {};
  return typeof name === 'string' && name.trim() ? name.slice(0, NAME_MAX) : 'unnamed';
}
