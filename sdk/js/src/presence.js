/**
 * @typedef {object} Member
 * @property {string} client
 * @property {string} [user] absent for anonymous members, each of whom counts as a user of its own
 * @property {any} [info] from the member's token
 * @property {any} [state] what the member itself last said with `update()`
 *
 * @typedef {object} PresenceEvent
 * @property {'sync' | 'join' | 'leave' | 'state' | 'count'} change `sync`: the whole list is new. `count`: only numbers,
 *   because the channel is too large for names
 * @property {Member} [member] who joined, left or changed
 * @property {Member[]} members everybody here, oneself included
 * @property {number} users
 * @property {number} clients
 */

/** Who is in a channel: a snapshot, and the events above its version. */
export class Presence {
  /** @type {Map<string, Member>} */
  #members = new Map();
  /** Version of the snapshot, and of whatever was applied since. -1: there is none yet, events are kept. */
  #version = -1;
  /** @type {any[]} */
  #early = [];
  #load = 0;
  #ask;
  #tell;

  /**
   * @param {(frame: any, settle: (error: any, reply?: any) => void) => void} ask sends a `presence` command
   * @param {(event: PresenceEvent) => void} tell
   */
  constructor(ask, tell) {
    this.#ask = ask;
    this.#tell = tell;
  }

  /** @returns {Member[]} */
  get members() {
    return [...this.#members.values()];
  }

  /** Fetches the list anew, all pages of it. Called after every subscribe, and when events were left out. */
  load() {
    this.#version = -1;
    this.#early = [];
    this.#page(++this.#load, new Map(), -1);
  }

  /**
   * @param {number} load
   * @param {Map<string, Member>} found
   * @param {number} first_version
   * @param {any} [after]
   */
  #page(load, found, first_version, after) {
    this.#ask({ type: 'presence', after }, (error, reply) => {
      if (error || load !== this.#load) return;
      // A later page may be of a newer version ("stale"). That needs no second try: every event since the first
      // page's version is kept here, and applying one twice changes nothing.
      if (first_version < 0) first_version = reply.version;
      for (const member of reply.members) found.set(member.client, member);
      if (reply.next) return this.#page(load, found, first_version, reply.next);
      this.#members = found;
      this.#version = first_version;
      for (const event of this.#early) this.#apply(event);
      this.#early = [];
      this.#say('sync');
    });
  }

  /** @param {any} event a presence push */
  push(event) {
    if (event.type === 'presence_reset') this.load();
    else if (event.type === 'presence_count') {
      // What was known of names is not so any more; a `presence_reset` comes when they are told again.
      this.#members.clear();
      this.#tell({ change: 'count', members: [], users: event.users, clients: event.clients });
    }
    else if (this.#version < 0) this.#early.push(event);
    else if (this.#apply(event)) {
      this.#say(event.type === 'presence_state' ? 'state' : event.type, event.member);
    }
  }

  /** @param {any} event */
  #apply({ type, version, member }) {
    if (version <= this.#version) return false;
    this.#version = version;
    if (type === 'leave') this.#members.delete(member.client);
    else {
      const now = { ...this.#members.get(member.client), ...member };
      // A state that was cleared is absent.
      if (type === 'presence_state' && member.state === undefined) delete now.state;
      this.#members.set(member.client, now);
    }
    return true;
  }

  /**
   * @param {PresenceEvent['change']} change
   * @param {Member} [member]
   */
  #say(change, member) {
    const members = this.members;
    const users = new Set(members.map((one) => one.user ?? one.client)).size;
    this.#tell({ change, member, members, users, clients: members.length });
  }
}
