// The client over real sockets, against the small server that breaks when told so.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { connect } from '../src/everwire.js';
import { MockServer } from './mock-server.mjs';

const once = (emitter, name, wanted = () => true) => new Promise((done) => {
  const off = emitter.on(name, (event) => {
    if (!wanted(event)) return;
    off();
    done(event);
  });
});

async function with_server(run) {
  const server = await new MockServer().listen();
  const clients = [];
  const client = () => {
    const one = connect(server.url.replace('http', 'ws') + '/ws', { WebSocket, env: { page: undefined } });
    clients.push(one);
    return one;
  };
  try {
    await run(server, client);
  } finally {
    for (const one of clients) one.close();
    await server.close();
  }
}

test('what is published during a break arrives in order, each once', () => with_server(async (server, client) => {
  const a = client();
  const b = client();
  const room = a.channel('room');
  const got = [];
  const all = new Promise((done) => room.on('message', (one) => got.push(one.data) === 30 && done()));
  await once(room, 'state', (event) => event.state === 'subscribed');
  for (let i = 0; i < 5; i++) await b.channel('room').publish(i);
  a.cut(100);
  for (let i = 5; i < 25; i++) await b.channel('room').publish(i);
  const back = await once(room, 'state', (event) => event.state === 'subscribed');
  for (let i = 25; i < 30; i++) await b.channel('room').publish(i);
  await all;
  assert.deepEqual(got, Array.from({ length: 30 }, (_, i) => i));
  assert.equal(back.recovered, true);
}));

test('a publish whose acknowledgement is lost is stored once', () => with_server(async (server, client) => {
  const a = client();
  let lose = true;
  server.fault = (peer, frame) => {
    if (frame.type !== 'publish' || !lose) return false;
    lose = false;
    peer.do_publish(frame);
    peer.ws.terminate();
    return true;
  };
  const answer = await a.channel('room').publish('once');
  assert.equal(answer.duplicate, true);
  assert.equal(server.stream('room').messages.length, 1);
}));

test('a lost past is told', () => with_server(async (server, client) => {
  const a = client();
  const room = a.channel('room');
  room.on('message', () => {});
  await once(room, 'state', (event) => event.state === 'subscribed');
  await room.publish(1);
  server.forget('room');
  a.cut(0);
  assert.equal((await once(room, 'gap')).reason, 'epoch_changed');
}));

test('presence sees who comes, types and goes; a short break is no leave', () => with_server(async (server, client) => {
  const a = client();
  const room = a.channel('room', { presence: true });
  await once(room, 'presence', (event) => event.change === 'sync');
  const seen = [];
  room.on('presence', (event) => seen.push(event.change));
  const b = client();
  const other = b.channel('room', { presence: true });
  other.on('message', () => {});
  await once(room, 'presence', (event) => event.clients === 2);
  await other.update({ typing: true });
  b.cut(0);
  await once(b, 'state', (event) => event.state === 'connected');
  await once(other, 'state', (event) => event.state === 'subscribed');
  const gone = once(room, 'presence', (event) => event.change === 'leave');
  b.close();
  await gone;
  assert.deepEqual(seen.filter((change) => change !== 'state'), ['join', 'leave']);
}));

test('draining moves the client over without a pause', () => with_server(async (server, client) => {
  const a = client();
  const room = a.channel('room');
  const states = [];
  await once(room, 'state', (event) => event.state === 'subscribed');
  a.on('state', (event) => states.push(event.state));
  const [old] = server.peers;
  const closed = new Promise((done) => old.ws.on('close', done));
  old.say({ type: 'bye', code: 'draining', message: 'restart', reconnect: true, after_ms: [0, 0] });
  await closed;
  const got = once(room, 'message');
  await room.publish('still here');
  assert.equal((await got).data, 'still here');
  assert.deepEqual(states, []);
}));
