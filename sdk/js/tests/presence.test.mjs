import { test } from 'node:test';
import assert from 'node:assert/strict';
import { subscribed, world } from './world.mjs';

const member = (client, more = {}) => ({ client, ...more });
const snapshot = (version, members, more = {}) => ({
  type: 'presence', channel: 'a', version, users: members.length, clients: members.length, members, ...more,
});
const names = (event) => event.members.map((one) => one.client);

function entered() {
  const w = world();
  w.connected();
  return { w, socket: w.socket(), ...subscribed(w, 'a', { presence: true }) };
}

test('a subscription with presence asks for the list and applies events above its version', () => {
  const { socket, seen, channel } = entered();
  assert.equal(socket.last('subscribe').presence, true);
  socket.say({ type: 'join', channel: 'a', version: 5, member: member('early') });
  socket.say({ type: 'leave', channel: 'a', version: 8, member: member('gone') });
  socket.say({ type: 'join', channel: 'a', version: 9, member: member('new') });
  assert.equal(seen.presence.length, 0);
  socket.reply('presence', snapshot(7, [member('c1'), member('early'), member('gone')]));
  assert.deepEqual([seen.presence[0].change, names(seen.presence[0])], ['sync', ['c1', 'early', 'new']]);
  socket.say({ type: 'join', channel: 'a', version: 9, member: member('again') });
  assert.equal(seen.presence.length, 1);
  socket.say({ type: 'presence_state', channel: 'a', version: 10, member: member('new', { state: { typing: true } }) });
  assert.deepEqual(seen.presence[1].member, { client: 'new', state: { typing: true } });
  socket.say({ type: 'presence_state', channel: 'a', version: 11, member: member('new') });
  assert.equal('state' in channel.members.find((one) => one.client === 'new'), false, 'a state that was cleared is gone');
  socket.say({ type: 'leave', channel: 'a', version: 12, member: member('early') });
  assert.deepEqual(channel.members.map((one) => one.client), ['c1', 'new']);
});

test('one user with two connections counts once, anonymous ones each for themselves', () => {
  const { socket, seen } = entered();
  socket.reply('presence', snapshot(1, [member('1', { user: 'ann' }), member('2', { user: 'ann' }), member('3'), member('4')]));
  assert.deepEqual([seen.presence[0].users, seen.presence[0].clients], [3, 4]);
});

test('pages of different versions still end in the truth', () => {
  const { socket, seen } = entered();
  socket.reply('presence', snapshot(3, [member('1'), member('2')], { next: '2' }));
  assert.equal(socket.last('presence').after, '2');
  socket.say({ type: 'leave', channel: 'a', version: 4, member: member('1') });
  socket.say({ type: 'leave', channel: 'a', version: 5, member: member('3') });
  socket.say({ type: 'join', channel: 'a', version: 6, member: member('5') });
  socket.reply('presence', snapshot(6, [member('4'), member('5')], { stale: true }));
  assert.deepEqual(names(seen.presence[0]).sort(), ['2', '4', '5']);
});

test('presence_reset, and every new connection, ask again', () => {
  const { w, socket, seen } = entered();
  socket.reply('presence', snapshot(1, [member('1'), member('2')]));
  socket.say({ type: 'presence_reset', channel: 'a', version: 40 });
  assert.equal(socket.all('presence').length, 2);
  socket.reply('presence', snapshot(40, [member('1')]));
  assert.deepEqual(names(seen.presence.at(-1)), ['1']);
  socket.end(1006);
  w.clock.advance(20_000);
  w.socket().ready().reply('subscribe', { type: 'subscribed', channel: 'a', position: { epoch: 'e', offset: 0 }, recovered: true, replaying: 0 });
  w.socket().reply('presence', snapshot(2, [member('9')]));
  assert.deepEqual(names(seen.presence.at(-1)), ['9']);
});

test('an answer to an older question is not taken', () => {
  const { socket, seen } = entered();
  const first = socket.last('presence').id;
  socket.say({ type: 'presence_reset', channel: 'a', version: 2 });
  socket.reply('presence', snapshot(2, [member('1')]));
  socket.say({ id: first, ...snapshot(1, [member('old')]) });
  assert.deepEqual(seen.presence.map(names), [['1']]);
});

test('a list that the server is too busy for is asked for again', () => {
  const { w, socket, seen } = entered();
  socket.reply('presence', { type: 'error', code: 'overloaded', message: 'busy', retryable: true, retry_after_ms: 500 });
  w.clock.advance(500);
  socket.reply('presence', snapshot(1, [member('1')]));
  assert.deepEqual(names(seen.presence[0]), ['1']);
});

test('large channels tell numbers', () => {
  const { socket, seen } = entered();
  socket.say({ type: 'presence_count', channel: 'a', version: 2, users: 9000, clients: 9500 });
  assert.deepEqual([seen.presence[0].change, seen.presence[0].users, seen.presence[0].clients], ['count', 9000, 9500]);
});

test('one\'s own state is said after every subscribe', async () => {
  const { w, socket, channel } = entered();
  const said = channel.update({ typing: true });
  socket.reply('presence_update', { type: 'presence_updated' });
  await said;
  socket.end(1006);
  await channel.update({ typing: false });
  w.clock.advance(20_000);
  w.socket().ready().reply('subscribe', { type: 'subscribed', channel: 'a', position: { epoch: 'e', offset: 0 }, recovered: true, replaying: 0 });
  assert.deepEqual(w.socket().all('presence_update').map((frame) => frame.state), [{ typing: false }]);
});
