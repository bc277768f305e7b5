// The chat: rooms in the address, one in view, all of them listened to.
import { connect } from '/sdk/everwire.js';
import { announcer } from '../announce.js';
import { me, NAME_MAX } from './me.js';
import { Room } from './room.js';
import { strip } from './strip.js';
import { at, atEnd, drawPeople, drawRoom, drawRooms, showRoom, toEnd } from './view.js';

const TEXT_MAX = 2000;
const ROOM_MAX = 32;

const announce = announcer(at('announcer'));
const client = connect('/ws', { name: 'everwire-chat' });
const facts = strip(client, {
  status: at('status'), rtt: at('rtt'), recovered: at('recovered'), cut: at('cut'),
  closed: at('closed'), again: at('try-again'), why: at('why'),
});

/** @type {Map<string, Room>} */
const rooms = new Map();
/** @type {Room} */
let current;
let drawing = false;

/** What happened in a room. Drawn once a frame, however much it was. */
function told(room, what, more) {
  if (what === 'recovered') {
    facts.recovered(more);
    announce(`${more} messages recovered in ${room.name}`);
  }
  if (what === 'entry' && room === current && more.fresh && !more.mine && more.state === 'sent') {
    if (!atEnd()) at('newer').hidden = false;
    announce(more.kind === 'gap' ? more.text : `${more.name}: ${more.text}`);
  }
  if (what === 'entry' && more.mine) queueMicrotask(toEnd);
  redraw();
}

function redraw() {
  if (drawing) return;
  drawing = true;
  queueMicrotask(() => {
    drawing = false;
    draw();
  });
}
client.on('state', redraw);

function draw() {
  drawRooms([...rooms.values()], current);
  drawRoom(current, client.state === 'closed', (entry) => current.again(entry));
  drawPeople(current, client.id);
}

function room(name) {
  let one = rooms.get(name);
  if (!one) {
    one = new Room(client, name, told);
    rooms.set(name, one);
  }
  return one;
}

/** The room that the address names. */
function enter() {
  let name = 'lobby';
  try {
    name = roomName(decodeURIComponent(location.hash.slice(1))) || [...rooms.keys()][0];
  } catch {
    // The address can't be decoded: the first room.
  }
  current?.typing(false);
  current?.watch(false);
  current = room(name);
  current.watch(!document.hidden);
  me.rooms = [...rooms.keys()];
  at('room-name').textContent = current.name;
  at('text').setAttribute('placeholder', `Say something in ${current.name}`);
  showPeople(false);
  draw();
  showRoom(current);
  toEnd();
}

/** A channel's name has no white space and no control characters; ours are short. @param {string} text */
function roomName(text) {
  return text.trim().toLowerCase().replace(/[\s\p{Cc}]+/gu, '-').slice(0, ROOM_MAX);
}

function whoAmI() {
  at('name-form').hidden = me.name !== '';
  at('text-form').hidden = me.name === '';
  at('rename').hidden = me.name === '';
}

at('name-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = at('name').value.trim().slice(0, NAME_MAX);
  at('wrong').textContent = name ? '' : 'A name has at least one letter.';
  if (!name) return at('name').focus();
  me.name = name;
  whoAmI();
  for (const one of rooms.values()) one.introduce();
  at('text').focus();
});

at('rename').addEventListener('click', () => {
  showPeople(false);
  at('name').value = me.name;
  at('name-form').hidden = false;
  at('text-form').hidden = true;
  at('name').focus();
});

at('text-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = at('text').value.trim();
  if (!text) return;
  at('wrong').textContent = text.length > TEXT_MAX ? `That is ${text.length} letters; at most ${TEXT_MAX} go into one message.` : '';
  if (text.length > TEXT_MAX) return;
  at('text').value = '';
  current.send(text);
});

at('text').addEventListener('keydown', (event) => {
  // While a word is being composed (Japanese, Chinese, dead keys) Enter belongs to the input method.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at('text-form').requestSubmit();
});
at('text').addEventListener('input', () => current.typing(at('text').value !== ''));

at('add-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = roomName(at('add').value);
  if (!name) return;
  at('add').value = '';
  location.hash = encodeURIComponent(name);
});

/** On a small screen the people are folded away. @param {boolean} open */
function showPeople(open) {
  at('people').classList.toggle('open', open);
  at('people-count').setAttribute('aria-expanded', String(open));
}
at('people-count').addEventListener('click', () => showPeople(!at('people').classList.contains('open')));
document.addEventListener('keydown', (event) => event.key === 'Escape' && showPeople(false));
at('newer').addEventListener('click', toEnd);
at('transcript').addEventListener('scroll', () => {
  if (atEnd()) at('newer').hidden = true;
});
addEventListener('hashchange', enter);
document.addEventListener('visibilitychange', () => {
  current.watch(!document.hidden);
  draw();
});

// Who leaves the page has left the rooms; without a goodbye the server would wait for a return.
addEventListener('pagehide', (event) => event.persisted || client.close());

for (const name of me.rooms) room(name);
whoAmI();
// Shown when it is whole, so that nothing jumps.
at('main').hidden = false;
enter();
