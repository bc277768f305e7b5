// Two publishers and a reader over connections that break at random, with answers lost at the worst moment. What must hold:
// the reader has what the server has, in its order, each once; and no publish is stored twice.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { WebSocket } from 'ws';
import { connect } from '../src/everwire.js';
import { MockServer } from './mock-server.mjs';

const STEPS = 400;
const FASTER = 500;

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

for (const seed of [1, 2, 3]) {
  test(`nothing is lost or doubled over random breaks, seed ${seed}`, async () => {
    const random = randomness(seed * 7919);
    const server = await new MockServer().listen();
    const counts = { breaks: 0, lost_answers: 0, repeated: 0, unknown: 0 };
    let lose_next = false;
    server.fault = (peer, frame) => {
      if (frame.type !== 'publish' || !lose_next) return false;
      lose_next = false;
      counts.lost_answers++;
      peer.do_publish(frame);
      peer.ws.terminate();
      return true;
    };
    const env = { page: undefined, random, setTimeout: (run, ms) => setTimeout(run, ms / FASTER) };
    const clients = [1, 2, 3].map(() => connect(server.url.replace('http', 'ws') + '/ws', { WebSocket, env }));
    const [reader, ...writers] = clients;
    const got = [];
    const gaps = [];
    const room = reader.channel('room');
    room.on('message', (message) => got.push(message.data));
    room.on('gap', (gap) => gaps.push(gap));
    await new Promise((done) => {
      const off = room.on('state', (event) => event.state === 'subscribed' && (off(), done()));
    });
    const answers = [];
    for (let step = 0; step < STEPS; step++) {
      const dice = random();
      if (dice < 0.1) {
        const peers = [...server.peers];
        peers[Math.floor(random() * peers.length)]?.ws.terminate();
        counts.breaks++;
      } else if (dice < 0.15) lose_next = true;
      const writer = writers[step % 2];
      const answer = writer.channel('room').publish(step).then(
        ({ duplicate }) => duplicate && counts.repeated++,
        (error) => {
          assert.equal(error.code, 'outcome_unknown');
          counts.unknown++;
        },
      );
      answers.push(answer);
      // Now and then everything settles; in between it piles up.
      if (random() < 0.2) await answer;
    }
    await Promise.all(answers);
    const stored = server.stream('room').messages.map((one) => one.data);
    await new Promise((done) => {
      if (got.length >= stored.length) return done();
      room.on('message', () => got.length >= stored.length && done());
    });
    assert.deepEqual(got, stored);
    assert.equal(new Set(stored).size, stored.length, 'stored twice');
    assert.ok(stored.length >= STEPS - counts.unknown);
    assert.deepEqual(gaps, []);
    assert.ok(counts.breaks >= 20 && counts.lost_answers >= 10 && counts.repeated >= 5, JSON.stringify(counts));
    for (const client of clients) client.close();
    await server.close();
  });
}
