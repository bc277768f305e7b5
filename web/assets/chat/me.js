// What the page remembers about the person in front of it. Storage may be forbidden: then it is remembered until the
// page is closed.

const memory = new Map();

function read(storage, key) {
  try {
    return storage().getItem(key) ?? memory.get(key) ?? null;
  } catch {
    return memory.get(key) ?? null;
  }
}

function write(storage, key, text) {
  memory.set(key, text);
  try {
    storage().setItem(key, text);
  } catch {
    // Forbidden or full; the memory above has it.
  }
}

// Asked for late: where storage is forbidden even naming it throws.
const forever = () => localStorage;
const visit = () => sessionStorage;

function readJson(storage, key, otherwise) {
  try {
    return JSON.parse(read(storage, key)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

export const NAME_MAX = 32;

export const me = {
  /** '' until the person gave one. */
  get name() {
    return Array.from(read(visit, 'everwire.name') ?? read(forever, 'everwire.name') ?? '').slice(0, NAME_MAX).join('');
  },
  set name(name) {
    // Both: a reload keeps this tab's name, a new tab begins with the newest.
    write(visit, 'everwire.name', name);
    write(forever, 'everwire.name', name);
  },

  /** Rooms in the list. @returns {string[]} */
  get rooms() {
    const rooms = readJson(forever, 'everwire.rooms', []);
    const known = Array.isArray(rooms) ? rooms.filter((one) => typeof one === 'string') : [];
    return known.length > 0 ? known : ['lobby', 'kitchen', 'workshop'];
  },
  set rooms(rooms) {
    write(forever, 'everwire.rooms', JSON.stringify(rooms));
  },

  /** How far a room was read. @param {string} room @returns {{ epoch: string, offset: number } | null} */
  seen(room) {
    return readJson(forever, `everwire.seen.${room}`, null);
  },
  /** @param {string} room @param {{ epoch: string, offset: number }} position */
  saw(room, position) {
    write(forever, `everwire.seen.${room}`, JSON.stringify(position));
  },

  /** Ids of the messages that this tab sent. @returns {string[]} */
  get sent() {
    return readJson(visit, 'everwire.sent', []);
  },
  /** @param {string} id */
  send(id) {
    write(visit, 'everwire.sent', JSON.stringify([...this.sent, id].slice(-200)));
  },
};

/** A fresh id for a message. */
export function freshId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(12)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
