// The home page: what goes over one channel, seen live, and what the server says about itself.
import { connect } from '/sdk/everwire.js';
import { offerCopies } from './copy.js';

const CHANNEL = 'demo:wire';
const WINDOW_MS = 10 * 60_000;
const ROWS = 6;
const STATS_MS = 2_000;

const at = (id) => document.getElementById(id);

const client = connect('/ws', { name: 'everwire-home' });
// The past ten minutes come along, so the count is the same on every page.
const wire = client.channel(CHANNEL, { presence: true, rewind: 1000 });

/** Times of the messages that count. @type {number[]} */
let times = [];

wire.on('message', (message) => {
  times.push(message.time);
  count();
  print(message);
  if (!message.replayed) pulse();
});
wire.on('gap', () => {
  // What is gone can't be counted. Better a count from here on than a wrong one.
  times = [];
  count();
});
wire.on('presence', ({ clients }) => {
  at('here').textContent = clients;
  at('here-words').textContent = clients === 1 ? 'page listening now: yours' : 'pages listening now';
});
wire.on('state', ({ state, error }) => {
  if (state === 'failed') say('error', `this server does not let pages listen to ${CHANNEL}: ${error.message}`);
});
client.on('state', ({ state, retry_in_ms, reason }) => {
  const words = {
    connecting: 'connecting',
    connected: 'connected: the figures above are live',
    waiting: `not connected (${reason}); trying again in ${Math.ceil((retry_in_ms ?? 0) / 1000)} s`,
    closed: `not connected, and the server says trying again is no use: ${reason}`,
  };
  say(state, words[state]);
  at('wire').classList.toggle('live', state === 'connected');
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
  times = times.filter((time) => time > since);
  at('count').textContent = times.length;
}

/** Adds a line to the tape, the newest on top. @param {any} message */
function print(message) {
  const tape = at('tape');
  tape.querySelector('.empty')?.remove();
  const line = document.createElement('li');
  const mine = message.from?.client === client.id;
  line.append(
    cell('time', '', new Date(message.time).toLocaleTimeString('en-GB')),
    cell('span', 'who', mine ? 'you' : message.from ? 'a visitor' : 'the API'),
    cell('span', '', words(message)),
  );
  if (mine) line.classList.add('mine');
  if (!message.replayed) line.classList.add('fresh');
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

/** What the server says about itself. The figures move; the addresses are shown once. */
async function stats() {
  try {
    const answer = await fetch('/stats');
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    show(await answer.json());
    at('no-stats').hidden = true;
  } catch (fault) {
    at('no-stats').hidden = false;
    at('no-stats').textContent = `The figures could not be read: ${fault.message}.`;
  }
  if (!document.hidden) setTimeout(stats, STATS_MS);
}
document.addEventListener('visibilitychange', () => document.hidden || stats());

/** @param {any} stats */
function show({ version, uptime_ms, connections, channels, messages, mode, addresses = {} }) {
  at('what').textContent = `Everwire ${version}, up for ${span(uptime_ms)}, sent you this page`;
  facts({
    Version: `${version}, ${mode} mode`,
    'Connections open': connections?.toLocaleString('en'),
    'Channels in use': channels?.toLocaleString('en'),
    'Messages published': messages?.toLocaleString('en'),
    'This page': addresses.home,
    'For clients': addresses.ws,
    Echo: addresses.echo,
    'For backends': addresses.api,
    'Key of the API': addresses.key,
  });
}

/** @param {Record<string, string | undefined>} wanted */
function facts(wanted) {
  const list = at('facts');
  for (const [name, value] of Object.entries(wanted)) {
    if (value === undefined || value === null) continue;
    let row = list.querySelector(`[data-fact="${name}"]`);
    if (!row) {
      row = document.createElement('div');
      row.dataset.fact = name;
      row.append(cell('dt', '', name), cell('dd', 'number', ''));
      list.append(row);
    }
    if (row.lastChild.textContent !== value) row.lastChild.textContent = value;
  }
}

function span(ms) {
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 1) return 'less than a minute';
  if (minutes < 120) return `${minutes} minute${minutes === 1 ? '' : 's'}`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} hours` : `${Math.floor(hours / 24)} days`;
}

at('curl').textContent = `curl ${location.origin}/api/publish \\
  -H 'Content-Type: application/json' \\
  -d '{"channel":"${CHANNEL}","data":{"text":"hello from a terminal"}}'`;

at('lines').textContent = `const { connect } = await import('${location.origin}/sdk/everwire.js');

const client = connect('${location.origin.replace('http', 'ws')}/ws');
const wire = client.channel('${CHANNEL}', { presence: true });

wire.on('message', (message) => console.log(message.data));
wire.on('presence', ({ clients }) => console.log(clients, 'here'));
client.on('state', ({ state }) => console.log(state));

await wire.publish({ text: 'hello from my own code' });`;

// Who leaves the page listens no more; without a goodbye the server would wait for a return.
addEventListener('pagehide', (event) => event.persisted || client.close());

offerCopies();
stats();
setInterval(count, 10_000);
