import { test } from 'node:test';
import assert from 'node:assert/strict';
import { world } from './world.mjs';

test('the server\'s visible ping is answered', () => {
  const w = world();
  w.connected().say({ type: 'ping' });
  assert.equal(w.socket().sent.filter((frame) => frame.type === 'pong').length, 1);
});

test('waking up probes the connection, once; a silent one is replaced', () => {
  for (const name of ['visibilitychange', 'online', 'pageshow']) {
    const w = world();
    w.connected();
    w.page.dispatchEvent(new Event(name));
    w.page.dispatchEvent(new Event(name));
    assert.equal(w.socket().all('ping').length, 1, name);
    w.clock.advance(5000);
    assert.equal(w.state().state, 'waiting', name);
  }
});

test('any sign of life is an answer to the probe', () => {
  const w = world();
  w.connected();
  w.page.dispatchEvent(new Event('online'));
  w.clock.advance(4000);
  w.socket().say({ type: 'message', channel: 'x', data: 1, time: 1 });
  w.clock.advance(5000);
  assert.equal(w.client.state, 'connected');
});

test('a page that becomes hidden does not wake anything', () => {
  const w = world();
  w.connected();
  w.page.document.visibilityState = 'hidden';
  w.page.dispatchEvent(new Event('visibilitychange'));
  assert.equal(w.socket().last('ping'), undefined);
});

test('a jump of the clock probes, long before the silence alone would', () => {
  const w = world();
  w.connected({ heartbeat_ms: 25_000 });
  w.clock.advance(12_000);
  assert.equal(w.socket().last('ping'), undefined);
  w.clock.sleep(20_000);
  w.clock.advance(0);
  assert.equal(w.socket().all('ping').length, 1);
  w.clock.advance(5000);
  assert.equal(w.state().state, 'waiting');
});

test('silence beyond the heartbeat probes, then gives up', () => {
  const w = world();
  w.connected({ heartbeat_ms: 25_000 });
  w.clock.advance(35_000);
  assert.equal(w.socket().last('ping'), undefined);
  w.clock.advance(10_000);
  assert.equal(w.state().state, 'waiting');
});

test('waking up while waiting tries at once', () => {
  const w = world();
  w.random = 0.99;
  w.connected().end(1006);
  w.page.dispatchEvent(new Event('online'));
  assert.equal(w.sockets.length, 2);
  assert.equal(w.client.state, 'connecting');
});

test('a closed client listens to the page no more', () => {
  const w = world();
  w.connected();
  w.client.close();
  w.page.dispatchEvent(new Event('online'));
  assert.equal(w.sockets.length, 1);
});

test('ping() tells the round trip', async () => {
  const w = world();
  w.connected();
  const asked = w.client.ping();
  w.socket().reply('ping', { type: 'pong' });
  assert.ok((await asked) >= 0);
});
