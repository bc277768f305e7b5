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
  /** By client. Who has left keeps the number on what was said, and the next of that name may have it. @type {Map<string, Called>} */
  #known = new Map();

  /** These are here now. @param {any[]} members */
  here(members) {
    /** @type {Map<string, Set<number>>} */
    const taken = new Map();
    const take = ({ client, name }, wanted) => {
      const numbers = taken.get(alike(name)) ?? new Set();
      taken.set(alike(name), numbers);
      let number = wanted;
      while (numbers.has(number)) number++;
      numbers.add(number);
      this.#known.set(client, { name, number });
    };
    const all = members.map(({ client, state }) => ({ client, name: shown(state?.name), since: Number(state?.since) || 0 }));
    const same = (one) => this.#known.has(one.client) && alike(this.#known.get(one.client).name) === alike(one.name);
    // Who has a number keeps it. To the others they go in the order of their coming, which is the same on every screen.
    for (const one of all.filter(same)) take(one, this.#known.get(one.client).number);
    const fresh = all.filter((one) => one.name && !same(one));
    fresh.sort((a, b) => a.since - b.since || (a.client < b.client ? -1 : 1));
    for (const one of fresh) take(one, 1);
    for (const client of this.#known.keys()) {
      if (this.#known.size <= REMEMBERED) break;
      if (!all.some((one) => one.client === client)) this.#known.delete(client);
    }
  }

  /** What somebody is called who says to be `name`. @param {string | undefined} client @param {string} name @returns {Called} */
  of(client, name) {
    const known = client ? this.#known.get(client) : undefined;
    return { name, number: known && alike(known.name) === alike(name) ? known.number : 1 };
  }
}
