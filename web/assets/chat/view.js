// Draws a room. All text of others goes through textContent.
import { nameOf } from './room.js';

const TOGETHER_MS = 5 * 60_000;
const NEAR_PX = 80;

export const at = (id) => document.getElementById(id);

/** @param {string} tag @param {string} kind @param {any[]} inside */
export function make(tag, kind, ...inside) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.append(...inside);
  return element;
}

/** Whether the reader is at the end of the transcript, and wants to stay there. */
export function atEnd() {
  const box = at('transcript');
  return box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
}

export function toEnd() {
  at('transcript').scrollTop = at('transcript').scrollHeight;
  at('newer').hidden = true;
}

/** Elements by what they show, so that what did not change stays where it is: a selection, a focus. */
const drawn = new Map();

/**
 * The transcript as it is now.
 * @param {any} room
 * @param {boolean} over the connection is closed for good
 * @param {(entry: any) => void} again
 */
export function drawRoom(room, over, again) {
  const stay = atEnd();
  const used = new Map();
  const lines = [];
  const put = (key, build) => {
    const element = drawn.get(key) ?? build();
    used.set(key, element);
    lines.push(element);
  };
  room.entries.forEach((entry, i) => {
    const first = entry.id === room.first_unread;
    if (first) put(`new ${entry.id}`, () => make('li', 'mark', 'new'));
    const follows = !first && together(room.entries[i - 1], entry);
    const key = JSON.stringify([room.name, entry.id, entry.state, entry.time, entry.trouble, follows]);
    put(key, () => line(entry, follows, again));
  });
  if (lines.length === 0) lines.push(quiet(room, over));
  drawn.clear();
  for (const [key, element] of used) drawn.set(key, element);
  settle(at('messages'), lines);
  if (stay) toEnd();
}

/** Makes these the children, and moves none that stands where it should. */
function settle(list, lines) {
  const wanted = new Set(lines);
  for (const child of [...list.children]) if (!wanted.has(child)) child.remove();
  lines.forEach((element, i) => {
    if (list.children[i] !== element) list.insertBefore(element, list.children[i] ?? null);
  });
}

function together(before, entry) {
  return before?.kind === 'message' && entry.kind === 'message' && before.name === entry.name
    && before.mine === entry.mine && entry.time - before.time < TOGETHER_MS;
}

function quiet(room, over) {
  if (room.trouble) return make('li', 'notice', room.trouble);
  if (over) return make('li', 'quiet', `Without a connection there is nothing to see of ${room.name}.`);
  return make('li', 'quiet', room.entered ? `Nobody has said anything in ${room.name} yet.` : `Entering ${room.name}.`);
}

function line(entry, follows, again) {
  if (entry.kind === 'gap') return make('li', 'mark told', entry.text);
  const clock = make('time', '', new Date(entry.time).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' }));
  const item = make('li', 'entry-line', make('div', 'by', make('b', '', entry.name), clock), make('p', '', entry.text));
  item.classList.toggle('follows', follows);
  item.classList.toggle('mine', entry.mine);
  item.dataset.id = entry.id;
  if (entry.state === 'sending') item.classList.add('sending');
  if (entry.state === 'failed') {
    const button = make('button', '', 'Send again');
    button.type = 'button';
    button.addEventListener('click', () => again(entry));
    item.classList.add('failed');
    item.append(make('div', 'trouble', entry.trouble, ' ', button));
  }
  return item;
}

/** Who is here, and who types. @param {any} room @param {string} self */
export function drawPeople(room, self) {
  const members = [...room.members].sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  const count = members.length;
  at('people-count').textContent = `${count} here`;
  at('people-list').replaceChildren(...members.map((one) => {
    const item = make('li', '', nameOf(one));
    if (one.client === self) item.append(' ', make('span', 'you', '(you)'));
    else if (one.state?.typing === true) item.append(' ', make('span', 'typing', 'typing'));
    return item;
  }));
  const names = room.typists(self);
  at('typists').textContent = names.length === 0 ? ''
    : names.length === 1 ? `${names[0]} is typing`
    : names.length === 2 ? `${names[0]} and ${names[1]} are typing`
    : 'Several people are typing';
}

/** Lines of the list of rooms. Kept, so that who stands on one with the keyboard stays there. */
const links = new Map();

/** @param {any[]} rooms @param {any} current */
export function drawRooms(rooms, current) {
  for (const room of rooms) {
    if (!links.has(room)) links.set(room, roomLink(room));
    const { link, unread } = links.get(room);
    if (room === current) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
    const count = room.unread > 99 ? '99+' : String(room.unread || '');
    if (unread.firstChild?.data !== count) unread.replaceChildren(...(count ? [count, make('span', 'unseen', ' unread')] : []));
  }
  settle(at('room-list'), rooms.map((room) => links.get(room).item));
  const elsewhere = rooms.reduce((sum, room) => sum + room.unread, 0);
  document.title = `${elsewhere ? `(${elsewhere}) ` : ''}${current.name} - Everwire chat`;
}

function roomLink(room) {
  const unread = make('span', 'unread');
  const link = make('a', '', make('span', 'title', room.name), ' ', unread);
  link.href = `#${encodeURIComponent(room.name)}`;
  return { item: make('li', '', link), link, unread };
}

/** On a small screen the list runs sideways: what is entered comes into view. @param {any} room */
export function showRoom(room) {
  links.get(room).item.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}
