// What people are called. Anybody may take any name: two who took the same one are told apart by a number.
import { NAME_MAX } from './me.js';

const REMEMBERED = 1_000;

/** @typedef {{ name: string, number: number }} Called */

/** A name as it may be shown, '' if that is none. @param {any} name */
export function shown(name) {
  // By letters: a cut through the middle of one would leave half of it.
  return typeof name === 'string' && name.trim() ? Array.from(name.trim()).slice(0, NAME_MAX).join('') : '';
}

/** @param {Called} called */
export function spoken({ name, number }) {
  return number > 1 ? `${name} (${number})` : name;
}

/** What the eye takes for one name. @param {string} name */
const alike = (name) => name.normalize('NFKC').replace(/\p{Cf}/gu, '').trim().toLowerCase();

/** The names in one room. */
export class Names {
  /** By client. Who has left keeps the number on what was said, and the next of that name may have it. @type {Map<string, Called & { key: string }>} */
  #known = new Map();

  /** These are here now. @param {any[]} members */
  here(members) {
    /** @type {Map<string, any[]>} */
    const groups = new Map();
    for (const { client, state } of members) {
      const name = shown(state?.name);
      const key = alike(name);
      if (name) groups.set(key, [...(groups.get(key) ?? []), { client, name, key, since: Number(state.since) || 0 }]);
    }
    for (const group of groups.values()) this.#number(group);
    const here = new Set(members.map((one) => one.client));
    for (const client of this.#known.keys()) {
      if (this.#known.size <= REMEMBERED) break;
      if (!here.has(client)) this.#known.delete(client);
    }
  }

  /** Gives numbers to those of one name. @param {any[]} group */
  #number(group) {
    const taken = new Set();
    const take = ({ client, name, key }, wanted) => {
      let number = wanted;
      while (taken.has(number)) number++;
      taken.add(number);
      this.#known.set(client, { name, key, number });
    };
    // Who has a number keeps it as long as there is another of the name. The others get theirs in the order of their
    // coming, which is the same on every screen.
    const kept = group.filter((one) => group.length > 1 && this.#known.get(one.client)?.key === one.key);
    for (const one of kept) take(one, this.#known.get(one.client).number);
    const fresh = group.filter((one) => !kept.includes(one));
    fresh.sort((a, b) => a.since - b.since || (a.client < b.client ? -1 : 1));
    for (const one of fresh) take(one, 1);
  }

  /** What somebody is called who says to be `name`. @param {string | undefined} client @param {string} name @returns {Called} */
  of(client, name) {
    const known = client ? this.#known.get(client) : undefined;
    return { name, number: known && known.key === alike(name) ? known.number : 1 };
  }
}
