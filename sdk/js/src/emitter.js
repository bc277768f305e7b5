/**
 * Named events with any number of listeners. A listener that throws disturbs neither the others nor the connection:
 * its error surfaces as an uncaught one.
 *
 * @template {Record<string, any>} Events event name -> what a listener is called with
 */
export class Emitter {
  /** @type {Map<string, Set<(event: any) => void>>} */
  #listeners = new Map();
  /** @type {readonly string[]} */
  #names;

  /** @param {readonly (keyof Events & string)[]} names of all events that there are */
  constructor(names) {
    this.#names = names;
  }

  /**
   * Listens. Returns the function that stops listening. A name that no event has is a TypeError: its listener would wait for ever.
   *
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(event: Events[Name]) => void} listener
   * @returns {() => void}
   */
  on(name, listener) {
    if (!this.#names.includes(name)) throw new TypeError(`there is no event "${name}": there are ${this.#names.join(', ')}`);
    const set = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, set.add(listener));
    return () => this.off(name, listener);
  }

  /**
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {(event: Events[Name]) => void} listener
   */
  off(name, listener) {
    this.#listeners.get(name)?.delete(listener);
  }

  /**
   * @internal
   * @template {keyof Events & string} Name
   * @param {Name} name
   * @param {Events[Name]} event
   */
  emit(name, event) {
    const set = this.#listeners.get(name) ?? new Set();
    for (const listener of [...set]) {
      // One of those before it may have taken it off.
      if (!set.has(listener)) continue;
      try {
        listener(event);
      } catch (fault) {
        queueMicrotask(() => {
          throw fault;
        });
      }
    }
  }
}
