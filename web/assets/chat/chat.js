// The chat: rooms in the address, one in view, all of them listened to.
import { connect } from '/sdk/everwire.js';
import { announcer } from '../announce.js';
import { offerCopies } from '../copy.js';
import { me } from './me.js';
import { shown, spoken } from './names.js';
import { Room } from './room.js';
import { strip } from './strip.js';
import { at, atEnd, drawPeople, drawRoom, drawRooms, keepEnd, showRoom, toEnd } from './view.js';

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
/** This server has no chat: there is nothing to ask a name for. */
let off = false;

/** What happened in a room. Drawn once for all that comes together. */
function told(room, what, more) {
  if (what === 'recovered') {
    facts.recovered(more);
    announce(`${more} messages recovered in ${room.name}`);
  }
  if (what === 'entry' && room === current && more.fresh && !more.mine && more.state === 'sent') {
    if (!atEnd()) at('newer').hidden = false;
    announce(more.kind === 'gap' ? more.text : `${spoken(room.speaker(more))}: ${more.text}`);
  }
  // One's own message, when it is not there at once.
  if (what === 'late') announce('Sending');
  if (what === 'arrived') announce('Sent');
  if (what === 'failed') announce(more.trouble);
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
  if (off !== current.off) {
    off = current.off;
    at('no-chat').hidden = !off;
    at('messages').hidden = off;
    whoAmI();
  }
  drawRooms([...rooms.values()], current);
  drawRoom(current, { over: client.state === 'closed', self: client.id, again: (entry) => current.again(entry) });
  drawPeople(current, client.id, client.state === 'connected' || current.members.length === 0);
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
  at('room-name').title = current.name;
  showPeople(false);
  showAdd(false);
  draw();
  showRoom(current);
  toEnd();
}

/** A channel's name has no white space and no control characters; ours are short. @param {string} text */
function roomName(text) {
  return text.trim().toLowerCase().replace(/[\s\p{Cc}]+/gu, '-').slice(0, ROOM_MAX);
}

/** @param {boolean} [renaming] another name is asked for */
function whoAmI(renaming = false) {
  const asked = me.name === '' || renaming;
  at('name-form').hidden = off || !asked;
  at('text-form').hidden = off || asked;
  at('keep').hidden = me.name === '';
  at('rename').hidden = me.name === '';
  at('wrong').textContent = '';
}

function keepName() {
  whoAmI();
  at('text').focus();
}

at('name-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = shown(at('name').value);
  at('wrong').textContent = name ? '' : 'A name has at least one letter.';
  if (!name) return at('name').focus();
  me.name = name;
  for (const one of rooms.values()) one.introduce();
  keepName();
});
at('keep').addEventListener('click', keepName);

at('rename').addEventListener('click', () => {
  showPeople(false);
  whoAmI(true);
  at('name').value = me.name;
  at('name').focus();
  at('name').select();
});

at('text-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const text = at('text').value.trim();
  if (!text) return;
  at('wrong').textContent = text.length > TEXT_MAX ? `That is ${text.length} letters; at most ${TEXT_MAX} go into one message.` : '';
  if (text.length > TEXT_MAX) return;
  at('text').value = '';
  fit();
  current.send(text);
});

at('text').addEventListener('keydown', (event) => {
  // While a word is being composed (Japanese, Chinese, dead keys) Enter belongs to the input method.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  at('text-form').requestSubmit();
});
at('text').addEventListener('input', () => current.typing(at('text').value !== ''));

/** The field grows with what is written. Where the style sheet can't say that, it is measured. */
function fit() {
  if (CSS.supports('field-sizing: content')) return;
  const field = at('text');
  field.style.height = 'auto';
  field.style.height = `${field.scrollHeight + field.offsetHeight - field.clientHeight}px`;
}
at('text').addEventListener('input', fit);

at('add-form').addEventListener('submit', (event) => {
  event.preventDefault();
  const name = roomName(at('add').value);
  if (!name) return at('add').focus();
  at('add').value = '';
  showAdd(false);
  location.hash = encodeURIComponent(name);
});

/** On a small screen the field for another room takes the place of the list. @param {boolean} open */
function showAdd(open) {
  at('rooms').classList.toggle('adding', open);
  at('new-room').setAttribute('aria-expanded', String(open));
  at('new-room').textContent = open ? 'Cancel' : 'New room';
}
at('new-room').addEventListener('click', () => {
  const open = !at('rooms').classList.contains('adding');
  showAdd(open);
  if (open) at('add').focus();
});

/** On a small screen the people are folded away. @param {boolean} open */
function showPeople(open) {
  at('people').classList.toggle('open', open);
  at('people-count').setAttribute('aria-expanded', String(open));
}
at('people-count').addEventListener('click', () => showPeople(!at('people').classList.contains('open')));
document.addEventListener('keydown', (event) => {
  if (event.key !== 'Escape' || event.isComposing) return;
  if (at('rooms').classList.contains('adding')) {
    showAdd(false);
    at('new-room').focus();
  } else if (at('people').classList.contains('open')) {
    showPeople(false);
    at('people-count').focus();
  } else if (me.name !== '' && at('text-form').hidden) keepName();
});
at('newer').addEventListener('click', toEnd);
keepEnd();
offerCopies();
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
