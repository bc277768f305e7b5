// The frames that the server is tested with too: what it says is understood, and what this client says is what the
// server reads.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { readFileSync, readdirSync } from 'node:fs';
import { settled, world } from './world.mjs';

const folder = new URL('../../../crates/everwire-proto/tests/golden/', import.meta.url);
const frames = readdirSync(folder).filter((name) => name.endsWith('.json'))
  .flatMap((name) => JSON.parse(readFileSync(new URL(name, folder), 'utf8')));
const frame = (name) => frames.find((one) => one.name === name)?.frame ?? assert.fail(`no golden frame ${name}`);
const names = (direction) => frames.filter((one) => one.direction === direction).map((one) => one.name).sort();

const LOBBY = 'chat:lobby';
const ANN = 'Ann-on-her-phone';
const BOB = 'Bob-at-his-table';
const SECRET = 'only-Ann-knows-this--A';
const TIME = 1_767_225_600_000;

/** A client whose `connect` was answered. */
function ready(answer = 'connected', options) {
  const w = world(options);
  w.client.open();
  w.socket().open().say(frame(answer));
  return w;
}

/** The connection breaks, and the time until the next one passes. */
function breaks(w) {
  w.socket().end(1006);
  w.clock.advance(w.state().retry_in_ms);
}

/** In a channel of a client, with everything that it tells. */
function entered(options, { name = LOBBY, answer = 'subscribed' } = {}) {
  const w = ready();
  const channel = w.client.channel(name, options);
  const told = [];
  for (const event of ['message', 'gap', 'presence', 'state']) channel.on(event, (what) => told.push([event, what]));
  if (answer) w.socket().say(frame(answer));
  return { w, channel, told, socket: w.socket(), last: () => told.at(-1) };
}

/** Back after a break, with 7 as the position. */
function returned(answer) {
  const it = entered();
  it.socket.say({ type: 'message', channel: LOBBY, offset: 7, data: 7, time: 1 });
  breaks(it.w);
  it.w.socket().ready();
  if (answer) it.w.socket().say(frame(answer));
  return it;
}

/** The frames of a type that went out on the socket in use. */
const sent = (w, type) => w.socket().last(type);

/** name of a frame of a client -> what makes this client say it */
const says = {
  connect: () => sent(ready(), 'connect'),
  'connect.named': () => sent(ready('connected', { token: 'a.b.c', name: 'my-shop' }), 'connect'),
  'connect.resume': () => {
    const w = ready();
    breaks(w);
    w.socket().open();
    return sent(w, 'connect');
  },
  subscribe: () => sent(entered().w, 'subscribe'),
  'subscribe.since': () => sent(returned().w, 'subscribe'),
  'subscribe.rewind': () => sent(entered({ rewind: 100, presence: true }).w, 'subscribe'),
  'subscribe.quiet': () => sent(entered({ echo: false, token: 'd.e.f' }).w, 'subscribe'),
  unsubscribe: () => {
    const { w, channel } = entered();
    channel.unsubscribe();
    return sent(w, 'unsubscribe');
  },
  publish: () => publishing(LOBBY, { text: 'hello' }, { message_id: 'm-1' }),
  'publish.tags': () => publishing(LOBBY, null, { message_id: 'm-1', tags: { lang: 'de', kind: 'note' } }),
  'publish.binary': () => publishing(LOBBY, new Uint8Array([0, 255, 16]), { message_id: 'm-1' }),
  'publish.volatile': () => publishing('cursor:map', [3, 4], { volatile: true }),
  'presence.ask': () => sent(entered({ presence: true }).w, 'presence'),
  'presence.next': () => {
    const { w, socket } = entered({ presence: true });
    socket.say(frame('presence.page'));
    return sent(w, 'presence');
  },
  presence_update: () => updating({ typing: true }),
  'presence_update.clear': () => updating(null),
  'history.ask': () => reading(),
  'history.since': () => reading({ limit: 2, since: { epoch: 'e1', offset: 7 } }),
  'history.before': () => reading({ before: { epoch: 'e1', offset: 7 }, reverse: true }),
  ping: () => {
    const w = ready();
    w.client.ping();
    return sent(w, 'ping');
  },
  pong: () => {
    const w = ready();
    w.socket().say(frame('ping.push'));
    return sent(w, 'pong');
  },
};

/** What this client never says in these words; programs without it, and people, do. */
const by_hand = ['connect.all', 'connect.typed', 'presence.limit', 'publish.typed', 'refresh', 'subscribe.rate'];

function publishing(name, data, options) {
  const w = ready();
  w.client.channel(name).publish(data, options);
  return sent(w, 'publish');
}

function updating(state) {
  const { w, channel } = entered();
  channel.update(state);
  return sent(w, 'presence_update');
}

function reading(options) {
  const w = ready();
  w.client.channel(LOBBY).history(options);
  return sent(w, 'history');
}

/** What comes of a command that the golden frame answers. */
async function answered(name, ask, on = LOBBY) {
  const w = ready();
  const answer = ask(w.client.channel(on), w.client);
  w.socket().say(frame(name));
  return answer;
}

const published = (name, on, options) => answered(name, (channel) => channel.publish(1, options), on);
const place = { epoch: 'e1', offset: 8 };
const heard = (name, options) => {
  const it = entered(options);
  it.socket.say(frame(name));
  return it;
};
function unmoved(name) {
  const w = ready();
  w.socket().say(frame(name));
  assert.deepEqual([w.client.state, w.state()], ['connected', { state: 'connected', resumed: false }]);
}
/** Where all are known already. */
function watching(name) {
  const it = entered({ presence: true });
  it.socket.say(frame('presence')).say(frame(name));
  return it;
}

/** name of a frame of the server -> what the client makes of it */
const hears = {
  connected() {
    const w = ready();
    assert.deepEqual([w.client.id, w.client.limits.message_bytes, w.state()], [ANN, 65_536, { state: 'connected', resumed: false }]);
  },
  'connected.user'() {
    assert.equal(ready('connected.user').client.state, 'connected');
  },
  'connected.subscribed'() {
    assert.equal(ready('connected.subscribed').client.state, 'connected');
  },
  'connected.push'() {
    assert.equal(ready('connected.push').client.id, ANN);
  },
  'connected.resumed': () => back('connected.resumed', { id: ANN, resumed: true }),
  'connected.fresh': () => back('connected.fresh', { id: BOB, resumed: false }),
  // Answers that it did not ask for change nothing.
  refreshed: () => unmoved('refreshed'),
  'refreshed.for_ever': () => unmoved('refreshed.for_ever'),
  subscribed() {
    const { channel, last } = entered();
    assert.deepEqual(channel.position, { epoch: 'e1', offset: 0 });
    assert.deepEqual(last(), ['state', { state: 'subscribed', recovered: undefined, replaying: undefined }]);
  },
  'subscribed.live'() {
    const { channel } = entered({}, { name: 'cursor:map', answer: 'subscribed.live' });
    assert.deepEqual([channel.state, channel.position], ['subscribed', null]);
  },
  'subscribed.until'() {
    assert.equal(entered({ token: 'd.e.f' }, { answer: 'subscribed.until' }).channel.state, 'subscribed');
  },
  'subscribed.recovered'() {
    const { channel, last } = returned('subscribed.recovered');
    assert.deepEqual(last()[1], { state: 'subscribed', recovered: true, replaying: 2 });
    assert.deepEqual(channel.position, { epoch: 'e1', offset: 7 }, 'its own, until the two have come');
  },
  'subscribed.current'() {
    assert.deepEqual(returned('subscribed.current').last()[1], { state: 'subscribed', recovered: true, replaying: 0 });
  },
  'subscribed.lost'() {
    const { channel, last } = returned('subscribed.lost');
    assert.deepEqual(last()[1], { state: 'subscribed', recovered: false, replaying: 0 });
    assert.deepEqual(channel.position, { epoch: 'e2', offset: 4 });
  },
  'subscribed.rewound'() {
    const { channel, socket, last } = entered({ rewind: 3 }, { answer: 'subscribed.rewound' });
    assert.equal(channel.position, null, 'the past comes first');
    socket.say({ type: 'message', channel: LOBBY, offset: 7, data: 'past', time: 1 });
    assert.deepEqual([last()[1].data, last()[1].replayed], ['past', true]);
  },
  unsubscribed() {
    const { channel, socket, told } = entered();
    channel.unsubscribe();
    socket.say(frame('unsubscribed'));
    const before = told.length;
    socket.say(frame('message'));
    assert.deepEqual([channel.state, told.length], ['idle', before]);
  },
  'unsubscribed.out'() {
    const { channel, last } = heard('unsubscribed.out');
    assert.deepEqual([channel.state, last()[1].error.code], ['failed', 'permission_denied']);
  },
  'unsubscribed.again'() {
    const { channel, socket } = heard('unsubscribed.again');
    assert.equal(channel.state, 'subscribing');
    assert.deepEqual(socket.last('subscribe').since, { epoch: 'e1', offset: 0 });
  },
  async published() {
    assert.deepEqual(await published('published'), { position: place, duplicate: false });
  },
  async 'published.duplicate'() {
    assert.deepEqual(await published('published.duplicate'), { position: place, duplicate: true });
  },
  async 'published.volatile'() {
    assert.deepEqual(await published('published.volatile', LOBBY, { volatile: true }), { position: undefined, duplicate: false });
  },
  presence() {
    const { socket, last, channel } = entered({ presence: true });
    socket.say(frame('presence'));
    const members = [{ client: ANN, user: 'ann', info: { color: 'red' }, state: { typing: true } }, { client: BOB }];
    assert.deepEqual(last(), ['presence', { change: 'sync', member: undefined, members, users: 2, clients: 2 }]);
    assert.deepEqual(channel.members, members);
  },
  'presence.page'() {
    const { socket, told } = entered({ presence: true });
    socket.say(frame('presence.page'));
    assert.ok(told.every(([event]) => event !== 'presence'), 'half a list is not told');
  },
  'presence.stale'() {
    const { socket, channel } = entered({ presence: true });
    socket.say(frame('presence.page')).say(frame('presence.stale'));
    assert.deepEqual(channel.members.map((one) => one.client), [ANN, BOB]);
  },
  async presence_updated() {
    const { channel, socket } = entered();
    const said = channel.update(1);
    socket.say(frame('presence_updated'));
    await said;
  },
  join() {
    const { last } = watching('join');
    assert.deepEqual([last()[1].change, last()[1].member.user, last()[1].clients], ['join', 'bob', 2]);
  },
  leave() {
    assert.deepEqual(watching('leave').channel.members.map((one) => one.client), [ANN]);
  },
  presence_state() {
    const { last } = watching('presence_state');
    assert.deepEqual([last()[1].change, last()[1].member.state], ['state', { typing: true }]);
  },
  presence_count() {
    const { last, channel } = watching('presence_count');
    assert.deepEqual(last()[1], { change: 'count', members: [], users: 1200, clients: 1500 });
    assert.deepEqual(channel.members, []);
  },
  presence_reset() {
    assert.equal(watching('presence_reset').socket.all('presence').length, 2);
  },
  async history() {
    const page = await answered('history', (channel) => channel.history());
    const hello = { offset: 8, data: { text: 'hello' }, message_id: 'm-1', from: { client: ANN, user: 'ann' }, time: TIME };
    const bytes = { offset: 9, binary: new Uint8Array([0, 255, 16]), time: TIME + 1000, tags: { lang: 'de' } };
    const messages = [hello, bytes].map((one) => ({ ...one, channel: LOBBY, replayed: true }));
    assert.deepEqual(page, { messages, position: { epoch: 'e1', offset: 10 }, next: { epoch: 'e1', offset: 9 } });
  },
  async 'history.end'() {
    const page = await answered('history.end', (channel) => channel.history());
    assert.deepEqual(page, { messages: [], position: { epoch: 'e1', offset: 7 }, next: undefined });
  },
  message: () => arrives('message', {
    offset: 8, data: { text: 'hello' }, message_id: 'm-1', from: { client: ANN, user: 'ann', info: { color: 'red' } },
    time: TIME, tags: { lang: 'de' },
  }),
  'message.backend': () => arrives('message.backend', { offset: 9, data: null, time: TIME }),
  'message.binary': () => arrives('message.binary', { offset: 10, binary: new Uint8Array([0, 255, 16]), from: { client: BOB }, time: TIME }),
  'message.volatile': () => arrives('message.volatile', { data: [3, 4], from: { client: BOB }, time: TIME }),
  'gap.expired': () => gap('gap.expired', { from: { epoch: 'e1', offset: 3 }, to: { epoch: 'e1', offset: 7 }, reason: 'history_expired' }),
  'gap.epoch': () => gap('gap.epoch', { from: { epoch: 'e1', offset: 7 }, to: { epoch: 'e2', offset: 4 }, reason: 'epoch_changed' }),
  'gap.slow': () => gap('gap.slow', { from: undefined, to: undefined, reason: 'slow_consumer' }),
  async 'pong.reply'() {
    assert.ok((await answered('pong.reply', (_, client) => client.ping())) >= 0);
  },
  'ping.push'() {
    const w = ready();
    w.socket().say(frame('ping.push'));
    assert.equal(w.socket().all('pong').length, 1);
  },
  bye() {
    const w = ready();
    w.socket().say(frame('bye'));
    assert.deepEqual(w.clock.waits()[0], 1500, 'the new connection is opened in the middle of 0..3000');
  },
  'bye.kicked'() {
    const w = ready();
    w.socket().say(frame('bye.kicked')).end(1006);
    assert.deepEqual(w.state(), { state: 'closed', code: 1006, reason: 'you were asked to leave' });
  },
  'error.push'() {
    const w = ready();
    const errors = [];
    w.client.on('error', (error) => errors.push([error.code, error.message]));
    w.socket().say(frame('error.push'));
    assert.deepEqual(errors, [['bad_request', '`channel` is missing; it must be a string']]);
  },
};

function back(name, wanted) {
  const w = ready();
  breaks(w);
  const socket = w.socket().open();
  assert.equal(socket.last('connect').resume, SECRET);
  socket.say(frame(name));
  assert.deepEqual({ id: w.client.id, resumed: w.state().resumed }, wanted);
}

function arrives(name, wanted) {
  const [event, message] = heard(name).last();
  assert.equal(event, 'message');
  assert.deepEqual(message, { ...wanted, channel: LOBBY, replayed: false });
}

function gap(name, wanted) {
  const { channel, last } = heard(name);
  assert.deepEqual(last(), ['gap', wanted]);
  assert.deepEqual(channel.position, wanted.to ?? { epoch: 'e1', offset: 0 });
}

for (const name of names('server->client').filter((one) => one.startsWith('error.') && one !== 'error.push')) {
  hears[name] = async () => {
    const { code, message, retryable, docs, retry_after_ms } = JSON.parse(frame(name));
    const refused = answered(name, (channel) => channel.history());
    await assert.rejects(refused, { name: 'EverwireError', code, message, retryable, docs, retry_after_ms });
  };
}

for (const [name, act] of Object.entries(says)) {
  test(`this client says ${name} as the server reads it`, async () => {
    const said = act();
    assert.deepEqual(said, JSON.parse(frame(name)));
    await settled();
  });
}

for (const [name, act] of Object.entries(hears)) test(`this client understands ${name}`, act);

test('no golden frame is left out', () => {
  assert.deepEqual(names('client->server'), [...Object.keys(says), ...by_hand].sort());
  assert.deepEqual(names('server->client'), Object.keys(hears).sort());
});
