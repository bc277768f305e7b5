// The home page: what goes over one channel, seen live, and what the server says about itself.
import { connect } from '/sdk/everwire.js';
import { announcer } from './announce.js';
import { offerCopies } from './copy.js';

const CHANNEL = 'demo:wire';
const WINDOW_MS = 10 * 60_000;
// As many as the server keeps: beyond them a page that was open longer would count more than one that was just opened.
const COUNTED = 1_000;
const ROWS = 6;
const STATS_MS = 2_000;

const at = (id) => document.getElementById(id);
const announce = announcer(at('announcer'));

const client = connect('/ws', { name: 'everwire-home' });
// The past ten minutes come along, so the count is the same on every page.
const wire = client.channel(CHANNEL, { presence: true, rewind: COUNTED });

/** Times of the messages that count. @type {number[]} */
let times = [];

/** Subscribes, and shows what comes. */
function listen() {
  wire.on('message', heard);
  wire.on('gap', missed);
  wire.on('presence', ({ clients }) => {
    at('here').textContent = clients.toLocaleString('en');
    at('here-words').textContent = clients === 1 ? 'page listening now: yours' : 'pages listening now';
  });
  wire.on('state', ({ state, error }) => {
    if (state === 'failed') say('error', `this server does not let pages listen to ${CHANNEL}: ${error.message}`);
  });
}

function heard(message) {
  times.push(message.time);
  count();
  const who = message.from?.client === client.id ? 'you' : message.from ? 'a visitor' : 'the API';
  print({ time: message.time, who, text: words(message), kind: who === 'you' ? 'mine' : '', fresh: !message.replayed });
  if (message.replayed) return;
  pulse();
  announce(`${who}: ${words(message)}`);
}

function missed({ reason }) {
  // What is gone can't be counted. Better a count from here on than a wrong one.
  times = [];
  count();
  const text = reason === 'epoch_changed' ? 'the server started anew' : 'some messages are gone';
  print({ time: Date.now(), who: 'gap', text, kind: 'told', fresh: true });
  announce(`${text}; the count begins again`);
}

client.on('state', ({ state, retry_in_ms, reason }) => {
  const words = {
    connecting: 'connecting',
    connected: 'connected: the figures above are live',
    waiting: `not connected (${reason}); trying again in ${Math.ceil((retry_in_ms ?? 0) / 1000)}\u00a0s`,
    closed: `not connected, and the server says trying again is no use: ${reason}`,
  };
  say(state, words[state]);
  at('wire').classList.toggle('live', state === 'connected');
  if (state === 'connected') stats(); // this page is one of the connections now
});

at('key').addEventListener('click', async () => {
  try {
    await wire.publish({ text: 'a press of the key' });
  } catch (error) {
    say('error', `the press was not sent: ${error.message}`);
  }
});

/** @param {string} state @param {string} words */
function say(state, words) {
  at('status').dataset.state = state;
  at('status').textContent = words;
}

function count() {
  const since = Date.now() - WINDOW_MS;
  times = times.filter((time) => time > since).slice(-COUNTED);
  at('count').textContent = times.length.toLocaleString('en') + (times.length === COUNTED ? '+' : '');
}

/**
 * Adds a line to the tape, the newest on top.
 * @param {{ time: number, who: string, text: string, kind: string, fresh: boolean }} what
 */
function print({ time, who, text, kind, fresh }) {
  const tape = at('tape');
  tape.querySelector('.empty')?.remove();
  const line = document.createElement('li');
  line.append(cell('time', '', new Date(time).toLocaleTimeString('en-GB')), cell('span', 'who', who), cell('span', '', text));
  if (kind) line.classList.add(kind);
  if (fresh) line.classList.add('fresh');
  tape.prepend(line);
  while (tape.children.length > ROWS) tape.lastChild.remove();
}

function cell(tag, kind, text) {
  const element = document.createElement(tag);
  if (kind) element.className = kind;
  element.textContent = text;
  return element;
}

/** Anybody may publish anything here: show it as text, and not all of it. */
function words({ data, binary }) {
  if (binary) return `${binary.length} bytes`;
  const text = typeof data?.text === 'string' ? data.text : JSON.stringify(data);
  return text.length > 140 ? `${text.slice(0, 139)}…` : text;
}

/** Something runs along the wire. */
function pulse() {
  const dot = document.createElementNS('http://www.w3.org/2000/svg', 'circle');
  dot.setAttribute('class', 'pulse');
  dot.setAttribute('r', '5');
  dot.addEventListener('animationend', () => dot.remove());
  at('wire').append(dot);
}

let next = 0;
let off = false;
/** What the server says about itself. The figures move; the addresses are shown once. */
async function stats() {
  try {
    const answer = await fetch('/stats', { signal: AbortSignal.timeout(5_000) });
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const told = await answer.json();
    show(told);
    // It was switched on meanwhile.
    if (off && told.demo !== false) location.reload();
    at('no-stats').hidden = true;
    return told;
  } catch (fault) {
    at('no-stats').hidden = false;
    at('no-stats').textContent = `The figures could not be read: ${fault.message}.`;
  } finally {
    clearTimeout(next);
    if (!document.hidden) next = setTimeout(stats, STATS_MS);
  }
}
document.addEventListener('visibilitychange', () => document.hidden || stats());

/** What this server has not got, where it says so: in words, and nothing is tried in vain. @param {any} stats */
function without({ mode, demo, echo }) {
  for (const part of document.querySelectorAll('[data-needs="demo"]')) part.hidden = demo === false;
  for (const part of document.querySelectorAll('[data-without="demo"]')) part.hidden = demo !== false;
  off = demo === false;
  if (off) say('off', 'not connected: there is nothing to listen to');
  at('no-echo').hidden = echo !== false;
  at('elsewhere-dev').hidden = mode === 'serve';
  at('elsewhere-serve').hidden = mode !== 'serve';
}

/** @param {any} stats */
function show({ version, uptime_ms, connections, channels, messages, mode, addresses = {} }) {
  // Who has no key is told no figures, but in dev mode.
  const up = uptime_ms === undefined ? '' : `, ${since(uptime_ms)}`;
  at('what').textContent = `Everwire ${version}, ${mode} mode${up}`;
  fact('version', version);
  fact('connections', connections?.toLocaleString('en'));
  fact('channels', channels?.toLocaleString('en'));
  fact('messages', messages?.toLocaleString('en'));
  for (const name of ['home', 'ws', 'echo', 'key']) fact(name, addresses[name]);
  // There is nothing to see at the API's address: what a backend does there is said with it.
  fact('api', addresses.api && `POST ${addresses.api}/publish`);
  // The key is told only to pages of a machine from which none is needed.
  at('key-needed').hidden = addresses.key !== undefined;
}

/** One fact; what this server does not tell has no line. @param {string} name @param {string | undefined} value */
function fact(name, value) {
  const row = document.querySelector(`[data-fact="${name}"]`);
  row.hidden = value === undefined;
  if (row.lastChild.textContent !== value) row.lastChild.textContent = value ?? '';
}

function since(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return 'just started';
  if (minutes < 120) return `up for ${minutes} minute${minutes === 1 ? '' : 's'}`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `up for ${hours} hours` : `up for ${Math.floor(hours / 24)} days`;
}

// The examples stand in the page with the address of dev mode; this server may have another.
at('lines').textContent = at('lines').textContent
  .replaceAll('http://localhost:8765', location.origin)
  .replaceAll('ws://localhost:8765', location.origin.replace('http', 'ws'));
at('curl').textContent = at('curl').textContent
  .replace('localhost:8765', location.protocol === 'http:' ? location.host : location.origin);

// Who leaves the page listens no more; without a goodbye the server would wait for a return.
addEventListener('pagehide', (event) => event.persisted || client.close());

offerCopies();
const told = (await stats()) ?? {};
without(told);
if (told.demo !== false) listen();
setInterval(count, 10_000);
