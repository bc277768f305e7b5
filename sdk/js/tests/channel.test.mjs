import { test } from 'node:test';
import assert from 'node:assert/strict';
import { message, subscribed, world } from './world.mjs';

/** Breaks the connection and connects anew. Returns the new socket. */
function again(w, more) {
  w.socket().end(1006);
  w.clock.advance(20_000);
  return w.socket().ready(more);
}

test('a channel subscribes once, with its first listener, and gets messages in order', () => {
  const w = world();
  w.connected();
  const { channel, seen } = subscribed(w, 'a');
  assert.equal(w.socket().all('subscribe').length, 1);
  w.socket().say(message('a', 1, 'x', { from: { client: 'c2' }, message_id: 'm', tags: { k: 'v' } }));
  assert.deepEqual(seen.messages, [{
    channel: 'a', offset: 1, data: 'x', time: 1, from: { client: 'c2' }, message_id: 'm', tags: { k: 'v' }, replayed: false,
  }]);
  assert.deepEqual(channel.position, { epoch: 'e', offset: 1 });
  assert.equal(w.client.channel('a'), channel);
});

test('after a break it asks from its position on, and every message comes once', () => {
  const w = world();
  w.connected();
  const { seen } = subscribed(w, 'a');
  for (const offset of [1, 2, 2, 1, 5]) w.socket().say(message('a', offset));
  const socket = again(w);
  assert.deepEqual(socket.last('subscribe').since, { epoch: 'e', offset: 5 });
  socket.reply('subscribe', { type: 'subscribed', channel: 'a', position: { epoch: 'e', offset: 9 }, recovered: true, replaying: 2 });
  assert.deepEqual(seen.states.at(-1), { state: 'subscribed', recovered: true, replaying: 2 });
  for (const offset of [5, 7, 9, 9, 10]) socket.say(message('a', offset));
  assert.deepEqual(seen.messages.map((one) => [one.offset, one.replayed]), [[1, false], [2, false], [5, false], [7, true], [9, true], [10, false]]);
  assert.deepEqual(seen.gaps, []);
});

test('what can not be recovered is told as a gap, and the position goes on behind it', () => {
  const w = world();
  w.connected();
  const { channel, seen } = subscribed(w, 'a');
  w.socket().say(message('a', 50));
  const socket = again(w);
  socket.reply('subscribe', { type: 'subscribed', channel: 'a', position: { epoch: 'f', offset: 3 }, recovered: false, replaying: 0 });
  socket.say({ type: 'gap', channel: 'a', from: { epoch: 'e', offset: 50 }, to: { epoch: 'f', offset: 3 }, reason: 'epoch_changed' });
  assert.equal(seen.gaps[0].reason, 'epoch_changed');
  assert.deepEqual(channel.position, { epoch: 'f', offset: 3 });
  socket.say(message('a', 4));
  assert.equal(seen.messages.at(-1).offset, 4);
});

test('a gap in mid-stream moves the position', () => {
  const w = world();
  w.connected();
  const { channel, seen } = subscribed(w, 'a');
  w.socket().say({ type: 'gap', channel: 'a', from: { epoch: 'e', offset: 0 }, to: { epoch: 'e', offset: 7 }, reason: 'slow_consumer' });
  w.socket().say({ type: 'gap', channel: 'a', reason: 'slow_consumer' });
  assert.deepEqual(channel.position, { epoch: 'e', offset: 7 });
  assert.equal(seen.gaps.length, 2);
});

test('rewind brings the past on entry, and a break in it does not lose the rest', () => {
  const w = world();
  w.connected();
  const { seen } = subscribed(w, 'a', { rewind: 3 }, { position: { epoch: 'e', offset: 9 }, replaying: 3 });
  for (const offset of [7, 8]) w.socket().say(message('a', offset));
  assert.deepEqual(seen.messages.map((one) => one.replayed), [true, true]);
  assert.deepEqual(again(w).last('subscribe').since, { epoch: 'e', offset: 8 });
});

test('rewind on an empty channel starts at its position', () => {
  const w = world();
  w.connected();
  const { channel } = subscribed(w, 'a', { rewind: 3 });
  assert.deepEqual(channel.position, { epoch: 'e', offset: 0 });
});

test('rewind stands in for a recovery that failed: the gap first, then the newest messages', () => {
  const w = world();
  w.connected();
  const { seen } = subscribed(w, 'a', { rewind: 2 });
  w.socket().say(message('a', 1));
  const socket = again(w);
  socket.reply('subscribe', { type: 'subscribed', channel: 'a', position: { epoch: 'e', offset: 9 }, replaying: 2 });
  socket.say({ type: 'gap', channel: 'a', from: { epoch: 'e', offset: 1 }, to: { epoch: 'e', offset: 7 }, reason: 'history_expired' });
  for (const offset of [8, 9, 10]) socket.say(message('a', offset));
  assert.deepEqual(seen.messages.map((one) => one.offset), [1, 8, 9, 10]);
  assert.deepEqual(seen.gaps.map((gap) => gap.to.offset), [7]);
});

test('recover: false starts at the top every time; since starts where told', () => {
  const w = world();
  w.connected();
  subscribed(w, 'a', { recover: false });
  w.socket().say(message('a', 5));
  subscribed(w, 'b', { since: { epoch: 'e', offset: 4 } }, { recovered: true, replaying: 0 });
  assert.deepEqual(w.socket().last('subscribe').since, { epoch: 'e', offset: 4 });
  const socket = again(w);
  assert.equal(socket.all('subscribe').find((frame) => frame.channel === 'a').since, undefined);
});

test('volatile messages have no offset and all pass', () => {
  const w = world();
  w.connected();
  const { seen } = subscribed(w, 'a', {}, { position: undefined });
  w.socket().say(message('a', undefined, 1)).say(message('a', undefined, 1));
  assert.deepEqual(seen.messages.map((one) => one.replayed), [false, false]);
});

test('off stops one listener, unsubscribe stops all and forgets the position', () => {
  const w = world();
  w.connected();
  const { channel, seen } = subscribed(w, 'a');
  const extra = [];
  const off = channel.on('message', (one) => extra.push(one));
  w.socket().say(message('a', 1));
  off();
  w.socket().say(message('a', 2));
  assert.deepEqual([extra.length, seen.messages.length], [1, 2]);
  channel.unsubscribe();
  w.socket().say(message('a', 3));
  assert.equal(seen.messages.length, 2);
  assert.equal(w.socket().last('unsubscribe').channel, 'a');
  assert.equal(again(w).last('subscribe'), undefined);
  channel.subscribe();
  assert.equal(w.socket().last('subscribe').since, undefined);
});

test('an answer to a subscribe that was taken back changes nothing', () => {
  const w = world();
  w.connected();
  const channel = w.client.channel('a');
  channel.on('message', () => assert.fail('no message may come'));
  const first = w.socket().last('subscribe').id;
  channel.unsubscribe();
  w.socket().say({ type: 'subscribed', id: first, channel: 'a', position: { epoch: 'e', offset: 1 } });
  assert.equal(channel.state, 'idle');
  w.socket().say(message('a', 2));
});

test('a refused subscribe fails for good, or is tried again where that helps', () => {
  const w = world();
  w.connected();
  const channel = w.client.channel('a');
  channel.on('message', () => {});
  w.socket().reply('subscribe', { type: 'error', code: 'rate_limited', message: 'slower', retryable: true, retry_after_ms: 3000 });
  assert.equal(channel.state, 'subscribing');
  w.clock.advance(3000);
  assert.equal(w.socket().all('subscribe').length, 2);
  w.socket().reply('subscribe', { type: 'error', code: 'permission_denied', message: 'not for you', retryable: false, docs: '/docs/errors#permission_denied' });
  assert.equal(channel.state, 'failed');
  assert.equal(again(w).last('subscribe'), undefined);
});

test('the server may unsubscribe, and may ask to come back', () => {
  const w = world();
  w.connected();
  const { channel, seen } = subscribed(w, 'a');
  w.socket().say(message('a', 3));
  w.socket().say({ type: 'unsubscribed', channel: 'a', code: 'overloaded', message: 'moved', resubscribe: true });
  assert.deepEqual(w.socket().last('subscribe').since, { epoch: 'e', offset: 3 });
  w.socket().reply('subscribe', { type: 'subscribed', channel: 'a', position: { epoch: 'e', offset: 3 }, recovered: true, replaying: 0 });
  w.socket().say({ type: 'unsubscribed', channel: 'a', code: 'permission_denied', message: 'out', resubscribe: false });
  assert.deepEqual([channel.state, seen.states.at(-1).error.code], ['failed', 'permission_denied']);
});

test('publish resolves on the acknowledgement', async () => {
  const w = world();
  w.connected();
  const publishing = w.client.channel('a').publish({ hi: 1 }, { tags: { a: 'b' } });
  const frame = w.socket().last('publish');
  assert.deepEqual([frame.channel, frame.data, frame.tags], ['a', { hi: 1 }, { a: 'b' }]);
  assert.match(frame.message_id, /^[0-9a-f]{32}$/);
  w.socket().reply('publish', { type: 'published', position: { epoch: 'e', offset: 1 } });
  assert.deepEqual(await publishing, { position: { epoch: 'e', offset: 1 }, duplicate: false });
  assert.equal(w.socket().last('subscribe'), undefined);
});

test('publishes before the connection wait for it, in order', () => {
  const w = world();
  for (const data of [1, 2, 3]) w.client.channel('a').publish(data);
  assert.equal(w.sockets.length, 1);
  w.socket().ready();
  assert.deepEqual(w.socket().all('publish').map((frame) => frame.data), [1, 2, 3]);
});

test('a publish whose answer was lost is repeated under its message_id, in order', async () => {
  const w = world();
  w.connected();
  const first = w.client.channel('a').publish(1);
  w.client.channel('a').publish(2);
  const before = w.socket().all('publish');
  w.socket().end(1006);
  w.client.channel('a').publish(3);
  w.clock.advance(20_000);
  const after = w.socket().ready().all('publish');
  assert.deepEqual(after.map((frame) => frame.data), [1, 2, 3]);
  assert.deepEqual(after.slice(0, 2).map((frame) => frame.message_id), before.map((frame) => frame.message_id));
  w.socket().say({ type: 'published', id: after[0].id, position: { epoch: 'e', offset: 1 }, duplicate: true });
  assert.equal((await first).duplicate, true);
});

test('a publish that could be stored twice is not repeated but rejected', async () => {
  const anonymous = world();
  anonymous.connected();
  const lost = anonymous.client.channel('a').publish(1);
  again(anonymous, { resumed: false });
  await assert.rejects(lost, { code: 'outcome_unknown', retryable: false });
  assert.equal(anonymous.socket().last('publish'), undefined);

  const known = world();
  known.connected({ user: 'ann' });
  known.client.channel('a').publish(1);
  assert.equal(again(known, { user: 'ann', resumed: false }).all('publish').length, 1);

  const late = world();
  late.connected();
  const old = late.client.channel('a').publish(1);
  late.socket().end(1006);
  late.clock.sleep(300_000);
  late.clock.advance(0);
  late.socket().ready();
  await assert.rejects(old, { code: 'outcome_unknown' });
});

test('a publish is tried again where the server says that helps, five times in all', async () => {
  const w = world();
  w.connected();
  const publishing = w.client.channel('a').publish(1);
  for (let i = 0; i < 5; i++) {
    w.socket().reply('publish', { type: 'error', code: 'overloaded', message: 'full', retryable: true, retry_after_ms: 2000 });
    w.clock.advance(2000);
  }
  await assert.rejects(publishing, { code: 'overloaded', retry_after_ms: 2000 });
  const frames = w.socket().all('publish');
  assert.equal(frames.length, 5);
  assert.equal(new Set(frames.map((frame) => frame.message_id)).size, 1);
});

test('other commands reject when their connection breaks', async () => {
  const w = world();
  w.connected();
  const channel = w.client.channel('a');
  const lost = [channel.history(), channel.publish(1, { volatile: true }), w.client.ping()];
  assert.equal(w.socket().last('publish').message_id, undefined);
  w.socket().end(1006);
  for (const promise of lost) await assert.rejects(promise, { code: 'disconnected' });
});

test('what is larger than the server takes is refused here, since it would end the connection', async () => {
  const w = world();
  w.connected({ limits: { message_bytes: 200 } });
  await assert.rejects(w.client.channel('a').publish('é'.repeat(100)), { code: 'too_large' });
  assert.equal(w.socket().last('publish'), undefined);
});

test('the queue without a connection is bounded', async () => {
  const w = world();
  w.client.open();
  for (let i = 0; i < 1000; i++) w.client.channel('a').publish(i).catch(() => {});
  await assert.rejects(w.client.channel('a').publish(1), { code: 'queue_full' });
});

test('bytes travel as base64', async () => {
  const w = world();
  w.connected();
  const { channel, seen } = subscribed(w, 'a');
  channel.publish(new Uint8Array([0, 255, 16]));
  assert.equal(w.socket().last('publish').binary, 'AP8Q');
  assert.ok(!('data' in w.socket().last('publish')));
  w.socket().say({ type: 'message', channel: 'a', offset: 1, binary: 'AP8Q', time: 1 });
  assert.deepEqual(seen.messages[0].binary, new Uint8Array([0, 255, 16]));
});

test('what is no JSON is refused to its caller, also while there is no connection', async () => {
  const w = world();
  w.client.open();
  const circle = {};
  circle.circle = circle;
  await assert.rejects(w.client.channel('a').publish(circle), TypeError);
  const mutable = { n: 1 };
  w.client.channel('a').publish(mutable);
  mutable.n = 2;
  w.socket().ready();
  assert.deepEqual(w.socket().all('publish').map((frame) => frame.data), [{ n: 1 }]);
});

test('null is a value', () => {
  const w = world();
  w.connected();
  w.client.channel('a').publish(undefined);
  assert.equal(w.socket().last('publish').data, null);
});

test('history is read page by page', async () => {
  const w = world();
  w.connected();
  const reading = w.client.channel('a').history({ limit: 2, since: { epoch: 'e', offset: 1 } });
  assert.deepEqual(w.socket().last('history').since, { epoch: 'e', offset: 1 });
  w.socket().reply('history', { type: 'history', channel: 'a', position: { epoch: 'e', offset: 9 }, messages: [{ offset: 2, data: 'x', time: 1 }], next: { epoch: 'e', offset: 2 } });
  const page = await reading;
  assert.deepEqual(page.messages, [{ channel: 'a', offset: 2, data: 'x', time: 1, replayed: true }]);
  assert.deepEqual(page.next, { epoch: 'e', offset: 2 });
});

test('errors without an id are told to the client; a refused command to its caller', async () => {
  const w = world();
  const errors = [];
  w.client.on('error', (error) => errors.push(error));
  w.connected().say({ type: 'error', code: 'bad_request', message: 'what?' });
  assert.equal(errors[0].code, 'bad_request');
  const publishing = w.client.channel('a').publish(1);
  w.socket().reply('publish', { type: 'error', code: 'permission_denied', message: 'no', retryable: false, docs: '/docs/errors#permission_denied' });
  await assert.rejects(publishing, { name: 'EverwireError', code: 'permission_denied', docs: '/docs/errors#permission_denied' });
});

test('unknown pushes and unknown channels are ignored', () => {
  const w = world();
  w.connected().say({ type: 'later' }).say({ type: 'later', channel: 'a' }).say(message('a', 1));
  assert.equal(w.client.state, 'connected');
});

test('a listener that was taken off is not called any more, not even for the event at hand', () => {
  const w = world();
  w.connected();
  const { channel } = subscribed(w, 'a');
  const called = [];
  channel.on('message', () => (called.push('first'), off(), channel.on('message', () => called.push('late'))));
  const off = channel.on('message', () => called.push('second'));
  w.socket().say(message('a', 1));
  assert.deepEqual(called, ['first']);
});

test('a listener that throws disturbs nobody, and its error surfaces', (t) => {
  const w = world();
  w.connected();
  const { channel, seen } = subscribed(w, 'a');
  const later = t.mock.method(globalThis, 'queueMicrotask', () => {});
  channel.on('message', () => {
    throw new Error('mine');
  });
  channel.on('message', (one) => seen.messages.push(one));
  w.socket().say(message('a', 1));
  assert.equal(seen.messages.length, 2);
  assert.throws(later.mock.calls[0].arguments[0], { message: 'mine' });
});

const appointed = (channel, offset, more = {}) => ({ channel, position: { epoch: 'e', offset }, ...more });

test('what the server subscribes us to is listened to without asking, and resumed by connect', () => {
  const w = world();
  const named = [];
  const messages = [];
  w.client.on('channel', (channel) => {
    named.push(channel.name);
    channel.on('message', ({ data, replayed }) => messages.push([data, replayed]));
  });
  const socket = w.connected({ subscriptions: [appointed('user:ann', 3)] });
  assert.deepEqual([named, socket.all('subscribe')], [['user:ann'], []]);
  assert.equal(w.client.channel('user:ann').state, 'subscribed');
  socket.say(message('user:ann', 4));
  w.socket().end(1006);
  w.clock.advance(20_000);
  const next = w.socket().open();
  assert.deepEqual(next.last('connect').since, { 'user:ann': { epoch: 'e', offset: 4 } });
  next.ready({ subscriptions: [appointed('user:ann', 6, { recovered: true, replaying: 2 })] });
  for (const offset of [5, 6, 7]) next.say(message('user:ann', offset));
  assert.deepEqual(next.all('subscribe'), []);
  assert.deepEqual(messages, [[4, false], [5, true], [6, true], [7, false]]);
  assert.deepEqual(named, ['user:ann'], 'named once');
});

test('a subscription that the server makes later is taken up, whatever was asked meanwhile', () => {
  const w = world();
  w.connected();
  const seen = [];
  const channel = w.client.channel('a');
  channel.on('state', (event) => seen.push(event.state));
  channel.on('message', ({ data }) => seen.push(data));
  const asked = w.socket().last('subscribe');
  w.socket().say({ type: 'subscribed', ...appointed('a', 0) });
  // The server did it before our own question came to its turn.
  w.socket().say({ type: 'error', id: asked.id, code: 'already_subscribed', message: 'm', retryable: false });
  w.socket().say(message('a', 1));
  assert.deepEqual(seen, ['subscribing', 'subscribed', 1]);
  w.socket().say({ type: 'unsubscribed', channel: 'a', code: 'permission_denied', message: 'm', resubscribe: false });
  w.socket().say(message('a', 2));
  assert.deepEqual([seen.at(-1), channel.state], ['failed', 'failed']);
  // The backend may change its mind.
  w.socket().say({ type: 'subscribed', ...appointed('a', 2) });
  w.socket().say(message('a', 3));
  assert.deepEqual(seen.slice(-2), ['subscribed', 3]);
});

test('a subscription that does not come back by itself is asked for', () => {
  const w = world();
  w.connected();
  w.socket().say({ type: 'subscribed', ...appointed('a', 5) });
  const socket = again(w);
  assert.deepEqual(socket.last('subscribe').since, { epoch: 'e', offset: 5 });
  socket.reply('subscribe', { type: 'error', code: 'permission_denied', message: 'm', retryable: false });
  assert.equal(w.client.channel('a').state, 'failed');
});

test('an event that there is not is told, and nothing is subscribed to for it', () => {
  const w = world();
  w.connected();
  assert.throws(() => w.client.channel('a').on('mesage', () => {}), /no event "mesage": there are message, gap, presence, state/);
  assert.throws(() => w.client.on('open', () => {}), { name: 'TypeError', message: /there are state, error, channel/ });
  assert.equal(w.socket().all('subscribe').length, 0);
});
