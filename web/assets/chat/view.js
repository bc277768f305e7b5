// Draws a room. All text of others goes through textContent.
import { spoken } from './names.js';

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
let at_end = true;
export const atEnd = () => at_end;

export function toEnd() {
  at('transcript').scrollTop = at('transcript').scrollHeight;
  at('newer').hidden = true;
  at_end = true;
}

/** Keeps who is at the end at the end, whatever grows or shrinks: a draft, a keyboard on glass, the text itself. */
export function keepEnd() {
  const box = at('transcript');
  box.addEventListener('scroll', () => {
    at_end = box.scrollHeight - box.scrollTop - box.clientHeight < NEAR_PX;
    if (at_end) at('newer').hidden = true;
  });
  const sizes = new ResizeObserver(() => at_end && toEnd());
  sizes.observe(box);
  sizes.observe(at('messages'));
}

/** A name, cut where there is no place for it; the number that tells it apart never is. @param {string} tag @param {import('./names.js').Called} called */
function who(tag, called) {
  const name = make('bdi', '', called.name);
  const element = make(tag, 'who', name, called.number > 1 ? make('span', '', ` (${called.number})`) : '');
  element.title = spoken(called);
  return element;
}

/** Elements by what they show, so that what did not change stays where it is: a selection, a focus. */
const drawn = new Map();

/**
 * The transcript as it is now.
 * @param {any} room
 * @param {{ over: boolean, self: string, again: (entry: any) => void }} how `over`: the connection is closed for good
 */
export function drawRoom(room, { over, self, again }) {
  const stay = atEnd();
  const used = new Map();
  const lines = [];
  const put = (key, build) => {
    const element = drawn.get(key) ?? build();
    used.set(key, element);
    lines.push(element);
  };
  const entries = room.awaited > 0 ? [] : room.entries;
  entries.forEach((entry, i) => {
    const first = entry.id === room.first_unread;
    if (first) put(`new ${entry.id}`, () => make('li', 'mark', 'new'));
    const follows = !first && together(entries[i - 1], entry);
    const speaker = room.speaker(entry, self);
    const key = JSON.stringify([room.name, entry.id, entry.state, entry.late, entry.time, entry.trouble, speaker.number, follows]);
    put(key, () => line(entry, speaker, follows, again));
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
    && before.mine === entry.mine && (entry.mine || before.from === entry.from) && entry.time - before.time < TOGETHER_MS;
}

function quiet(room, over) {
  if (room.trouble) return make('li', 'notice', room.trouble);
  if (over) return make('li', 'quiet', `Without a connection there is nothing to see of ${room.name}.`);
  return make('li', 'quiet', room.entered ? `Nobody has said anything in ${room.name} yet.` : `Entering ${room.name}.`);
}

function line(entry, speaker, follows, again) {
  if (entry.kind === 'gap') return make('li', 'mark told', entry.text);
  const clock = make('time', '', new Date(entry.time).toLocaleTimeString('en-GB', { hour: '2-digit', minute: '2-digit' }));
  const words = make('p', '', entry.text);
  // Each message runs the way it is written, whatever the way of its neighbours.
  words.dir = 'auto';
  const item = make('li', 'entry-line', make('div', 'by', who('b', speaker), clock), words);
  item.classList.toggle('follows', follows);
  item.classList.toggle('mine', entry.mine);
  item.dataset.id = entry.id;
  if (entry.state === 'sending') {
    item.classList.add('sending');
    if (entry.late) item.append(make('div', 'way', 'Sending…'));
  }
  if (entry.state === 'failed') {
    const button = make('button', '', 'Try again', make('span', 'unseen', ' to send this'));
    button.type = 'button';
    button.addEventListener('click', () => again(entry));
    item.classList.add('failed');
    item.append(make('div', 'trouble', entry.trouble, ' ', button));
  }
  return item;
}

const order = new Intl.Collator(undefined, { numeric: true, sensitivity: 'base' });

/**
 * Who is here, oneself first, and who types.
 * @param {any} room
 * @param {string} self
 * @param {boolean} live whether this is still so: without a connection nobody knows
 */
export function drawPeople(room, self, live) {
  at('people').classList.toggle('stale', !live);
  at('people-title').textContent = live ? 'Here now' : 'Seen last';
  const here = room.members.map((member) => ({ called: room.called(member), self: member.client === self, typing: live && member.state?.typing === true }));
  const named = here.filter((one) => one.called.name).sort((a, b) => Number(b.self) - Number(a.self) || order.compare(a.called.name, b.called.name) || a.called.number - b.called.number);
  const lines = named.map((one) => {
    const item = make('li', '', who('span', one.called));
    if (one.self) item.append(' ', make('span', 'you', '(you)'));
    else if (one.typing) item.append(' ', make('span', 'typing', 'typing'));
    return item;
  });
  const nameless = here.filter((one) => !one.called.name);
  const others = nameless.filter((one) => !one.self).length;
  if (others < nameless.length) lines.unshift(make('li', 'you', 'You, without a name yet'));
  if (others > 0) lines.push(make('li', 'you', others === 1 ? 'Somebody without a name' : `${others} without a name`));
  at('people-count').textContent = `${here.length.toLocaleString('en')} ${live ? 'here' : 'seen last'}`;
  at('people-list').replaceChildren(...lines);
  const names = live ? room.typists(self) : [];
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

at('room-list').addEventListener('scroll', ({ target }) => target.classList.toggle('scrolled', target.scrollLeft > 0));

/** On a small screen the list runs sideways: what is entered comes into view. @param {any} room */
export function showRoom(room) {
  links.get(room).item.scrollIntoView({ block: 'nearest', inline: 'nearest' });
}
