import { test } from 'node:test';
import assert from 'node:assert/strict';
import { connect } from '../src/everwire.js';
import { Backoff } from '../src/backoff.js';
import { verdict } from '../src/verdict.js';
import { settled, subscribed, world } from './world.mjs';

test('back-off stays in 0.3..20 s, doubles its ceiling and uses all of it', () => {
  for (const random of [0, 0.5, 0.999_999]) {
    const backoff = new Backoff(() => random);
    const waits = Array.from({ length: 12 }, () => backoff.next());
    assert.ok(waits.every((wait) => wait >= 300 && wait <= 20_000), String(waits));
    if (random === 0) assert.ok(waits.every((wait) => wait === 300));
    if (random > 0.9) {
      assert.deepEqual(waits.slice(0, 4).map(Math.round), [600, 1200, 2400, 4800]);
      assert.equal(Math.round(waits.at(-1)), 20_000);
    }
  }
});

test('the table of close codes', () => {
  const table = {
    never: [1000, 1002, 1003, 1007, 1008, 1009, 4000, 4001, 4003, 4009, 4099],
    backoff: [1001, 1005, 1006, 1011, 1012, 1013, 1015, 4100, 4101, 4102, 4199, 4900],
    at_once: [4200, 4299],
  };
  for (const [word, codes] of Object.entries(table)) {
    for (const code of codes) assert.equal(verdict(code), word, String(code));
  }
});

test('nothing is opened until it is needed', () => {
  const w = world();
  w.client.channel('a');
  assert.equal(w.sockets.length, 0);
  assert.equal(w.client.state, 'idle');
  w.client.channel('a').on('message', () => {});
  assert.equal(w.sockets.length, 1);
  assert.deepEqual(w.socket().protocols, ['everwire.v1']);
  w.socket().open();
  assert.equal(w.socket().sent[0].type, 'connect');
  assert.equal(w.socket().sent[0].heartbeat, true);
});

test('a broken connection comes back after the back-off', () => {
  const w = world();
  w.connected().end(1006);
  assert.equal(w.state().state, 'waiting');
  assert.equal(w.state().retry_in_ms, 450);
  w.clock.advance(449);
  assert.equal(w.sockets.length, 1);
  w.clock.advance(1);
  assert.equal(w.sockets.length, 2);
  assert.equal(w.socket().open().sent[0].resume, 's1');
});

test('tries go on and their waits grow; only 30 s of stability start them anew', () => {
  const w = world();
  const lose = (stood_ms) => {
    w.socket().ready();
    w.clock.advance(stood_ms);
    w.socket().end(1006);
    const wait = w.state().retry_in_ms;
    w.clock.advance(wait);
    return wait;
  };
  w.client.open();
  assert.deepEqual([lose(0), lose(0), lose(29_999)], [450, 750, 1350]);
  assert.equal(lose(30_000), 450);
});

test('every close code that means never ends in closed, with the reason', () => {
  for (const code of [1000, 1002, 1003, 1007, 1008, 1009, 4001, 4003, 4009]) {
    const w = world();
    w.connected().end(code, `because ${code}`);
    assert.deepEqual(w.state(), { state: 'closed', code, reason: `because ${code}` });
    w.clock.advance(100_000);
    assert.equal(w.sockets.length, 1, String(code));
  }
});

test('closed is not forever: open() starts again', () => {
  const w = world();
  w.connected().end(4001);
  w.client.open();
  assert.equal(w.sockets.length, 2);
  w.socket().ready();
  assert.equal(w.client.state, 'connected');
});

test('4200 comes back at once, but not in a loop', () => {
  const w = world();
  w.connected().end(4200);
  assert.equal(w.state().retry_in_ms, 0);
  w.clock.advance(0);
  w.socket().ready().end(4200);
  assert.ok(w.state().retry_in_ms >= 300);
});

test('the time of a bye is kept, also when the page wakes up', () => {
  const w = world();
  const socket = w.connected();
  socket.say({ type: 'bye', code: 'overloaded', message: 'full', reconnect: true, after_ms: [4000, 8000] });
  w.clock.advance(1000);
  socket.end(1013);
  assert.equal(w.state().retry_in_ms, 5000);
  w.page.dispatchEvent(new Event('online'));
  assert.equal(w.sockets.length, 1);
  w.clock.advance(5000);
  assert.equal(w.sockets.length, 2);
});

test('what is left of the range of a bye is kept where the connection ends within it', () => {
  const w = world();
  const socket = w.connected();
  socket.say({ type: 'bye', code: 'draining', message: 'restart', reconnect: true, after_ms: [4000, 8000] });
  w.clock.advance(5000);
  socket.end(1012);
  assert.equal(w.state().retry_in_ms, 1500, 'half of the 3 s that are left');
});

test('a range that is over does not bring all who had it back at once', () => {
  const w = world();
  const socket = w.connected({ reconnect_spread_ms: 10_000 });
  socket.say({ type: 'bye', code: 'draining', message: 'restart', reconnect: true, after_ms: [0, 1000] });
  w.clock.advance(500);
  w.socket().end(1006);
  w.clock.advance(500);
  w.socket().end(1006);
  assert.equal(w.client.state, 'connected', 'the old one still serves');
  socket.end(1012);
  assert.equal(w.state().retry_in_ms, 6350, 'the third back-off and half of the spread');
  w.page.dispatchEvent(new Event('online'));
  assert.equal(w.sockets.length, 4, 'it is its own wait: who wakes up tries at once');
});

test('a bye without reconnect ends in closed with its words', () => {
  const w = world();
  const socket = w.connected();
  socket.say({ type: 'bye', code: 'kicked', message: 'you were asked to leave', reconnect: false });
  socket.end(1006);
  assert.equal(w.state().state, 'closed');
  assert.equal(w.state().reason, 'you were asked to leave');
});

test('reconnect_spread_ms is added after an unannounced end', () => {
  const w = world();
  w.connected({ reconnect_spread_ms: 10_000 }).end(1006);
  assert.equal(w.state().retry_in_ms, 5450);
});

test('retry_after_ms of a refused connect is kept', () => {
  const w = world();
  w.client.open();
  const socket = w.socket().open();
  socket.say({ type: 'error', id: socket.sent[0].id, code: 'overloaded', message: 'full', retryable: true, retry_after_ms: 7000 });
  assert.equal(w.state().retry_in_ms, 7000);
  assert.equal(w.state().reason, 'full');
});

test('a refused token ends in closed; a token function gets another chance when its token ran out', async () => {
  const refuse = (w, code) => {
    const socket = w.socket().open();
    socket.say({ type: 'error', id: socket.sent[0].id, code, message: code, retryable: false });
  };
  const fixed = world({ token: 't' });
  fixed.client.open();
  refuse(fixed, 'token_expired');
  assert.equal(fixed.state().state, 'closed');

  let asked = 0;
  const fresh = world({ token: async () => `t${++asked}` });
  fresh.client.open();
  await settled();
  refuse(fresh, 'token_expired');
  assert.equal(fresh.state().state, 'waiting');
  fresh.clock.advance(20_000);
  await settled();
  assert.equal(fresh.socket().open().sent[0].token, 't2');
});

test('a token function that fails is asked again later', async () => {
  let fail = true;
  const w = world({ token: () => (fail ? Promise.reject(new Error('backend down')) : 't') });
  w.client.open();
  await settled();
  assert.deepEqual([w.state().state, w.state().reason], ['waiting', 'backend down']);
  fail = false;
  w.clock.advance(20_000);
  await settled();
  assert.equal(w.socket().open().sent[0].token, 't');
});

test('a token is replaced before it ends, for as long as a function gives new ones', async () => {
  let asked = 0;
  let fail = false;
  const w = world({ token: async () => (fail ? assert.fail('backend down') : `t${++asked}`) });
  const errors = [];
  w.client.on('error', (error) => errors.push(error.code));
  w.client.open();
  await settled();
  const until = (ms) => w.clock.now + ms;
  const socket = w.socket().ready({ expires_at: until(600_000) });
  const refreshed = (more) => socket.say({ type: 'refreshed', id: socket.last('refresh').id, ...more });
  const pass = async (ms) => {
    // As on a living connection: something is heard now and then.
    for (let left = ms; left > 0; left -= 5_000) {
      w.clock.advance(Math.min(left, 5_000));
      socket.say({ type: 'ping' });
      await settled();
    }
  };
  await pass(539_000);
  assert.equal(socket.all('refresh').length, 0, 'a minute before its end, not sooner');
  await pass(2_000);
  assert.equal(socket.last('refresh').token, 't2');
  refreshed({ expires_at: until(20_000) });
  await pass(16_000);
  assert.equal(socket.last('refresh').token, 't3', 'a quarter of a short time before its end');
  // A refusal is told, and it is tried again; so is a function that fails.
  socket.say({ type: 'error', id: socket.last('refresh').id, code: 'token_invalid', message: 'no', retryable: false });
  fail = true;
  await pass(15_000);
  fail = false;
  await pass(10_000);
  assert.deepEqual([errors, socket.last('refresh').token, socket.all('refresh').length], [['token_invalid'], 't4', 3]);
  // One that never ends needs no other; nor does one that is not of a function.
  refreshed({});
  await pass(700_000);
  assert.equal(socket.all('refresh').length, 3);
  const fixed = world({ token: 't' });
  fixed.connected({ expires_at: fixed.clock.now + 60_000 });
  fixed.clock.advance(59_000);
  assert.equal(fixed.socket().all('refresh').length, 0);
});

/** All that may wait for a client whose address is wrong, each asked before or after it is known. */
async function askedInVain(w, t) {
  const warn = t.mock.method(console, 'warn', () => {});
  const early = w.client.channel('early');
  const failed = [];
  early.on('message', () => {});
  early.on('state', (event) => failed.push(event));
  const before = early.publish(1);
  const errors = [await before.catch((error) => error)];
  assert.equal(w.client.state, 'closed');
  errors.push(await early.publish(2).catch((error) => error), await w.client.ping().catch((error) => error), await early.history().catch((error) => error));
  const late = w.client.channel('late');
  late.on('state', (event) => failed.push(event));
  await settled();
  assert.deepEqual([early.state, late.state], ['failed', 'failed']);
  assert.equal(failed.filter(({ state }) => state === 'failed').length, 2);
  errors.push(...failed.filter(({ state }) => state === 'failed').map(({ error }) => error));
  assert.deepEqual([...new Set(errors.map(({ code }) => code))], ['closed']);
  const messages = [...new Set([w.state().reason, ...errors.map(({ message }) => message)])];
  assert.equal(messages.length, 1, messages.join('\n'));
  assert.ok(warn.mock.calls.every(({ arguments: [words] }) => words === `everwire: ${messages[0]}`));
  assert.ok(warn.mock.callCount() > 0);
  return messages[0];
}

test('what can be no address rejects everything that waits for it, before and after, and says what one looks like', async (t) => {
  for (const url of ['not a url', '', 'ftp://x', 'localhost:8765/ws', 'http://', '/ws']) {
    const w = world({ url });
    const message = await askedInVain(w, t);
    assert.equal(message, `no connection can be made to '${url}': one looks like wss://example.com/ws, or like /ws in a page that the server sent`);
    assert.equal(w.sockets.length, 0, url);
    t.mock.restoreAll();
  }
});

test('an address that the browser refuses rejects everything that waits for it', async (t) => {
  const w = world();
  w.refuse = new DOMException('not from a secure page', 'SecurityError');
  assert.equal(await askedInVain(w, t), "no connection can be made to 'ws://test/ws': not from a secure page");
});

test('what goes wrong in a token function is no fault of the address, whatever it is called', async () => {
  const w = world({ token: async () => JSON.parse('<html>') });
  w.client.open();
  await settled();
  assert.equal(w.state().state, 'waiting');
});

test('what is asked by who hears that a client opens, and closes it, is rejected too', async () => {
  const w = world();
  w.client.on('state', ({ state }) => state === 'connecting' && w.client.close());
  await assert.rejects(w.client.channel('a').publish(1), { code: 'closed', message: 'closed by the client' });
});

test('what can never work is told where it is written', () => {
  assert.throws(() => connect('ws://test/ws', { env: { WebSocket: undefined } }), /no WebSocket/);
});

test('http is understood as the address of a WebSocket, and a server alone as its /ws', () => {
  for (const [url, wanted] of Object.entries({
    'https://test/ws': 'wss://test/ws',
    'http://test:8765': 'ws://test:8765/ws',
    'https://test/': 'wss://test/ws',
    'ws://test': 'ws://test/ws',
    ' wss://test/live?a=b ': 'wss://test/live?a=b',
    'ws://test/?a=b': 'ws://test/?a=b',
  })) {
    const w = world({ url });
    w.client.open();
    assert.equal(w.socket().url, wanted);
  }
});

test('five first tries without an answer are told on the console, once, with the address and the usual causes', (t) => {
  const warn = t.mock.method(console, 'warn', () => {});
  const w = world({ url: 'ws://test/wrong' });
  w.client.open();
  const fail = () => {
    w.socket().end(1006);
    w.clock.advance(w.state().retry_in_ms);
  };
  for (let i = 0; i < 4; i++) fail();
  assert.equal(warn.mock.callCount(), 0);
  for (let i = 0; i < 10; i++) fail();
  assert.equal(warn.mock.callCount(), 1);
  const [words] = warn.mock.calls[0].arguments;
  for (const part of ['ws://test/wrong', 'no connection could be made', 'Everwire is at /ws', 'origin']) assert.ok(words.includes(part), words);
  assert.equal(w.sockets.length, 15, 'it goes on');
});

test('no such warning for a server that was reached, or that refuses in words', (t) => {
  const warn = t.mock.method(console, 'warn', () => {});
  const lost = world();
  lost.connected();
  const refused = world();
  refused.client.open();
  for (let i = 0; i < 10; i++) {
    lost.socket().end(1006);
    lost.clock.advance(lost.state().retry_in_ms);
    const socket = refused.socket().open();
    socket.say({ type: 'error', id: socket.sent[0].id, code: 'overloaded', message: 'full', retryable: true });
    refused.clock.advance(refused.state().retry_in_ms);
  }
  assert.deepEqual([lost.sockets.length, refused.sockets.length, warn.mock.callCount()], [11, 11, 0]);
});

test('a server that does not answer connect is left after 10 s', () => {
  const w = world();
  w.client.open();
  w.socket().open();
  w.clock.advance(10_000);
  assert.equal(w.state().state, 'waiting');
});

test('a frame that is no JSON breaks the connection instead of being lost', () => {
  const w = world();
  w.connected().say('{');
  assert.equal(w.state().state, 'waiting');
});

test('cut() breaks off, stays away as told, ignores waking, comes back', () => {
  const w = world();
  const socket = w.connected();
  w.client.cut(5000);
  assert.equal(socket.closed_with, 4900);
  assert.equal(w.state().retry_in_ms, 5000);
  w.page.dispatchEvent(new Event('online'));
  w.clock.advance(4999);
  assert.equal(w.sockets.length, 1);
  w.clock.advance(1);
  assert.equal(w.sockets.length, 2);
  w.client.cut(5000);
  w.clock.advance(5000);
  assert.equal(w.sockets.length, 3);
});

test('close() is final, says 1000 and rejects what waits', async () => {
  const w = world();
  const socket = w.connected();
  const { channel } = subscribed(w, 'a');
  const publishing = channel.publish(1);
  w.client.close();
  assert.equal(socket.closed_with, 1000);
  assert.equal(w.state().state, 'closed');
  await assert.rejects(publishing, { code: 'closed' });
  await assert.rejects(channel.publish(2), { code: 'closed' });
  w.clock.advance(100_000);
  assert.equal(w.sockets.length, 1);
});

test('draining: the new connection opens and resumes first, then the old one is closed', () => {
  const w = world();
  const old = w.connected();
  const { seen } = subscribed(w, 'a');
  old.say({ type: 'message', channel: 'a', offset: 1, data: 1, time: 1 });
  old.say({ type: 'bye', code: 'draining', message: 'restart', reconnect: true, after_ms: [1000, 3000] });
  w.clock.advance(1999);
  assert.equal(w.sockets.length, 1);
  w.clock.advance(1);
  assert.equal(w.sockets.length, 2);
  assert.equal(w.client.state, 'connected');
  old.say({ type: 'message', channel: 'a', offset: 2, data: 2, time: 1 });
  const fresh = w.socket().open();
  assert.equal(fresh.sent[0].resume, 's1');
  fresh.ready();
  assert.deepEqual(fresh.last('subscribe').since, { epoch: 'e', offset: 2 });
  old.say({ type: 'message', channel: 'a', offset: 3, data: 3, time: 1 });
  old.say({ type: 'message', channel: 'a', data: 'volatile', time: 1 });
  assert.equal(old.closed_with, undefined);
  fresh.reply('subscribe', { type: 'subscribed', channel: 'a', position: { epoch: 'e', offset: 3 }, recovered: true, replaying: 1 });
  assert.equal(old.closed_with, 1000);
  fresh.say({ type: 'message', channel: 'a', offset: 3, data: 3, time: 1 });
  fresh.say({ type: 'message', channel: 'a', offset: 4, data: 4, time: 1 });
  assert.deepEqual(seen.messages.map((one) => one.data), [1, 2, 3, 'volatile', 4]);
  assert.deepEqual(w.states.map((event) => event.state), ['connecting', 'connected']);
});

test('draining: if the new connection fails the old one serves until it closes', () => {
  const w = world();
  const old = w.connected();
  const { seen } = subscribed(w, 'a');
  old.say({ type: 'bye', code: 'draining', message: 'restart', reconnect: true, after_ms: [0, 0] });
  w.clock.advance(0);
  w.socket().end(1006);
  assert.equal(w.client.state, 'connected');
  old.say({ type: 'message', channel: 'a', offset: 1, data: 1, time: 1 });
  assert.equal(seen.messages.length, 1);
  old.end(1012);
  assert.equal(w.client.state, 'waiting');
  w.clock.advance(20_000);
  w.socket().ready();
  assert.equal(w.client.state, 'connected');
});

test('an answer that a drained connection still gives is taken', async () => {
  const w = world();
  const old = w.connected();
  const { channel } = subscribed(w, 'a');
  const history = channel.history();
  const asked = old.last('history').id;
  old.say({ type: 'bye', code: 'draining', message: '', reconnect: true, after_ms: [0, 0] });
  w.clock.advance(0);
  w.socket().ready();
  old.say({ type: 'history', id: asked, messages: [], position: { epoch: 'e', offset: 0 } });
  assert.deepEqual((await history).messages, []);
});

const drain = (w, old) => {
  old.say({ type: 'bye', code: 'draining', message: '', reconnect: true, after_ms: [0, 0] });
  w.clock.advance(0);
};

test('draining: publishes without an answer are repeated on the new connection, before those that come later', () => {
  const w = world();
  const old = w.connected();
  const { channel } = subscribed(w, 'a');
  channel.publish(1);
  channel.publish(2);
  const ids = old.all('publish').map((frame) => frame.message_id);
  drain(w, old);
  const fresh = w.socket().ready();
  channel.publish(3);
  assert.deepEqual(fresh.all('publish').map((frame) => frame.data), [1, 2, 3]);
  assert.deepEqual(fresh.all('publish').slice(0, 2).map((frame) => frame.message_id), ids);
});

test('draining: where the new connection is a stranger, the old one answers what it was asked', async () => {
  const w = world();
  const old = w.connected();
  const publishing = subscribed(w, 'a').channel.publish(1);
  drain(w, old);
  const fresh = w.socket().ready({ resumed: false });
  assert.equal(fresh.last('publish'), undefined, 'it would be stored twice');
  old.reply('publish', { type: 'published', position: { epoch: 'e', offset: 1 } });
  assert.equal((await publishing).duplicate, false);
});

test('draining: a subscription without an answer holds the old connection for 5 s only', () => {
  const w = world();
  const old = w.connected();
  subscribed(w, 'a');
  drain(w, old);
  w.socket().ready();
  w.clock.advance(4999);
  assert.equal(old.closed_with, undefined);
  w.clock.advance(1);
  assert.equal(old.closed_with, 1000);
  assert.equal(w.client.state, 'connected');
});
