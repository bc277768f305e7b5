// The client and the real server over connections that break all the time, also between a publish and its answer. What
// must hold: the reader has what the server has, in its order, each once; and nothing is stored twice.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { connect } from '../../sdk/js/src/everwire.js';
import { startServer } from './world.mjs';

const PUBLISHES = 150;
const FASTER = 100;
let server;
before(async () => {
  server = await startServer();
});
after(async () => assert.equal(await server?.stop(), 0, 'the server ends cleanly on SIGTERM'));

/** A client whose waits are shorter, and whose connection can be torn. */
function person() {
  let socket;
  class Torn extends WebSocket {
    constructor(...args) {
      super(...args);
      socket = this;
    }
  }
  const env = { page: undefined, setTimeout: (run, ms) => setTimeout(run, ms / FASTER) };
  const client = connect(`${server.ws}/ws`, { WebSocket: Torn, env });
  const states = [];
  client.on('state', ({ state }) => states.push(state));
  return { client, states, tear: () => socket?.terminate() };
}

/** Numbers in [0, 1) that a seed decides: xorshift32. */
function randomness(seed) {
  let state = seed;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

test('nothing is lost, doubled or out of order over torn connections', async () => {
  const random = randomness(20_250_101);
  const [reader, ...writers] = [person(), person(), person()];
  const channel = (one) => one.client.channel('torn');
  const got = [];
  const gaps = [];
  channel(reader).on('message', ({ data }) => got.push(data));
  channel(reader).on('gap', (gap) => gaps.push(gap));
  await new Promise((done) => channel(reader).on('state', ({ state }) => state === 'subscribed' && done()));
  const counts = { torn: 0, duplicates: 0, unknown: 0 };
  const answers = [];
  for (let n = 0; n < PUBLISHES; n++) {
    const writer = writers[n % 2];
    const answer = channel(writer).publish(n).then(({ duplicate }) => duplicate && counts.duplicates++, (error) => {
      assert.equal(error.code, 'outcome_unknown');
      counts.unknown++;
    });
    answers.push(answer);
    if (random() < 0.25) {
      // Once what was written is on its way; its answer is not here yet.
      await new Promise(setImmediate);
      writer.tear();
      counts.torn++;
    }
    if (random() < 0.1) {
      reader.tear();
      counts.torn++;
    }
    if (random() < 0.5) await answer;
  }
  await Promise.all(answers);
  const stored = [];
  for (let since; ;) {
    const page = await channel(writers[0]).history({ limit: 100, since });
    stored.push(...page.messages.map(({ data }) => data));
    if (!page.next) break;
    since = page.next;
  }
  await new Promise((done) => {
    const whole = () => got.length >= stored.length && done();
    channel(reader).on('message', whole);
    whole();
  });
  assert.deepEqual(got, stored);
  assert.equal(new Set(stored).size, stored.length, 'stored twice');
  assert.ok(stored.length >= PUBLISHES - counts.unknown, 'what was acknowledged is stored');
  for (const [i] of writers.entries()) {
    const own = stored.filter((n) => n % 2 === i);
    assert.deepEqual(own, [...own].sort((a, b) => a - b), 'a publisher\'s order');
  }
  assert.deepEqual(gaps, []);
  assert.ok(counts.torn >= 30 && counts.duplicates >= 3, JSON.stringify(counts));
  assert.ok(reader.states.filter((state) => state === 'waiting').length >= 5, 'the reader was away as well');
  for (const { client } of [reader, ...writers]) client.close();
});
