// A restart in the middle of everything: a thousand clients, five hundred messages a second, SIGTERM, and the same data
// again. Some were cut before the last messages were sent. What must hold: nothing that was acknowledged is lost, nothing
// comes twice, and every recovery is whole.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createHmac, randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { WebSocket } from 'ws';
import { connect } from '../../sdk/js/src/everwire.js';
import { startServer } from './world.mjs';

const CHANNELS = 50;
const SUBSCRIBERS = 960;
const CUT_SUBSCRIBERS = 100;
/** Half of them are cut, half go on. */
const PUBLISHERS = 40;
const PER_SECOND = 500;
const PATIENCE_MS = 50_000;
/** The cut ones come back when the old server is gone. */
const AWAY_MS = 6_000;
const KEY = 'a key for the backend of 32 bytes';
const SECRET = randomBytes(32).toString('hex');

const config = (data) => `
api_keys = ["${KEY}"]
[[tokens.keys]]
algorithm = "HS256"
secret = "${SECRET}"
[limits]
commands_per_second = 1_000
commands_burst = 10_000
[history]
data = ${JSON.stringify(data)}
[drain]
notice = "500ms"
[namespaces.default]
history = { messages = 100_000, bytes = "100MiB" }
access = { subscribe = "authenticated", publish = "authenticated", history = "authenticated" }
`;

function token(user) {
  const part = (what) => Buffer.from(JSON.stringify(what)).toString('base64url');
  const signed = `${part({ alg: 'HS256' })}.${part({ sub: user, exp: Math.floor(Date.now() / 1000) + 600 })}`;
  return `${signed}.${createHmac('sha256', SECRET).update(signed).digest('base64url')}`;
}

/** Waits until it holds, and fails when it does not. */
function until(what, holds) {
  const begun = Date.now();
  return new Promise((done, reject) => {
    const looks = setInterval(() => {
      const over = Date.now() - begun > PATIENCE_MS;
      if (!over && !holds()) return;
      clearInterval(looks);
      if (over) reject(new Error(`${what}: not after ${PATIENCE_MS} ms`));
      else done();
    }, 20);
  });
}

/** One client, and everything that it was told. */
class Person {
  seen = [];
  recoveries = [];
  trouble = [];

  constructor(server, number) {
    this.name = `room-${number % CHANNELS}`;
    this.client = connect(`${server.ws}/ws`, { WebSocket, env: { page: undefined }, token: () => token(`user-${number}`) });
    this.channel = this.client.channel(this.name);
  }

  listen() {
    this.channel.on('message', ({ offset, data }) => this.seen.push([offset, data]));
    this.channel.on('gap', (gap) => this.trouble.push(gap));
    this.channel.on('state', (event) => {
      if (event.state === 'failed') this.trouble.push(event.error);
      if (event.state === 'subscribed' && event.recovered !== undefined) this.recoveries.push(event.recovered);
    });
    return this;
  }
}

/** What publishers sent, and what became of it. */
class Ledger {
  sent = 0;
  settled = 0;
  /** Channel, offset and data of what was acknowledged. */
  acknowledged = [];
  refused = [];

  keep(name, data, answer) {
    this.sent++;
    const note = ({ position }) => this.acknowledged.push([name, position.offset, data]);
    answer.then(note, (error) => this.refused.push(error)).finally(() => this.settled++);
  }

  publish(person) {
    const data = `${person.name} ${this.sent}`;
    this.keep(person.name, data, person.channel.publish(data));
  }

  /** By the backend, which does not try again. */
  post(server, name) {
    const data = `${name} ${this.sent}`;
    const request = fetch(`${server.url}/api/publish`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-api-key': KEY },
      body: JSON.stringify({ channel: name, data }),
    });
    this.keep(name, data, request.then((answer) => (answer.ok ? answer.json() : answer.text().then((text) => Promise.reject(new Error(text))))));
  }
}

/** Five hundred messages a second, evenly; the function that ends it. */
function load(ledger, publishers) {
  const begun = Date.now();
  let sent = 0;
  const ticks = setInterval(() => {
    for (const due = ((Date.now() - begun) * PER_SECOND) / 1000; sent < due; sent++) ledger.publish(publishers[sent % publishers.length]);
  }, 10);
  return () => clearInterval(ticks);
}

/** A subscriber has each message of its channel once, in order, as it was acknowledged. */
function check(person, ledger) {
  assert.deepEqual(person.trouble, [], person.name);
  const offsets = person.seen.map(([offset]) => offset);
  assert.deepEqual(offsets, offsets.map((_, at) => at + 1), 'each once, in order, none left out');
  assert.equal(new Set(person.seen.map(([, data]) => data)).size, person.seen.length, 'nothing was stored twice');
  for (const [name, offset, data] of ledger.acknowledged) {
    if (name === person.name) assert.equal(person.seen[offset - 1]?.[1], data, `${name} at ${offset}`);
  }
}

test('a restart under load loses nothing, doubles nothing and recovers everybody', async () => {
  const data = mkdtempSync(join(tmpdir(), 'everwire-restart-'));
  const how = { config: config(data) };
  const old = await startServer(how);
  const people = Array.from({ length: SUBSCRIBERS }, (_, number) => new Person(old, number).listen());
  const publishers = Array.from({ length: PUBLISHERS }, (_, number) => new Person(old, number));
  const everybody = [...people, ...publishers];
  const ledger = new Ledger();
  let stop = () => {};
  let server = old;
  try {
    for (const { client } of publishers) client.open();
    await until('all are here', () => publishers.every(({ client }) => client.state === 'connected')
      && people.every(({ channel }) => channel.state === 'subscribed'));
    const [going, cut] = [publishers.slice(PUBLISHERS / 2), publishers.slice(0, PUBLISHERS / 2)];
    stop = load(ledger, going);
    await until('a second of load', () => ledger.settled > PER_SECOND);
    // These hear nothing of the last messages, nor of the end of the server.
    const away = people.slice(0, CUT_SUBSCRIBERS);
    for (const { client } of [...away, ...cut]) client.cut(AWAY_MS);
    for (const person of cut) for (let n = 0; n < 5; n++) ledger.publish(person);
    for (let n = 0; n < CHANNELS; n++) ledger.post(old, `room-${n}`);
    const before = ledger.settled;
    await until('half a second more', () => ledger.settled > before + PER_SECOND / 2);
    const acknowledged = ledger.acknowledged.length;
    assert.equal(await old.stop(), 0, 'the old one ends in order');
    server = await startServer({ ...how, listen: old.listen });
    await until('all are back', () => everybody.every(({ client }) => client.state === 'connected')
      && people.every(({ channel }) => channel.state === 'subscribed'));
    const back = ledger.settled;
    await until('a second of load on the new one', () => ledger.settled > back + PER_SECOND);
    stop();
    await until('every publish is answered', () => ledger.settled === ledger.sent);
    const top = new Map();
    for (const [name, offset] of ledger.acknowledged) top.set(name, Math.max(top.get(name) ?? 0, offset));
    await until('all have everything', () => people.every(({ name, seen }) => (seen.at(-1)?.[0] ?? 0) >= top.get(name)));
    assert.deepEqual(ledger.refused, []);
    for (const person of people) check(person, ledger);
    const recoveries = people.flatMap((person) => person.recoveries);
    assert.ok(recoveries.length >= SUBSCRIBERS && recoveries.every(Boolean), `${recoveries.length} recoveries`);
    assert.ok(people.every((person) => person.recoveries.length > 0), 'everybody recovered at least once');
    console.log(`${ledger.acknowledged.length} acknowledged, ${acknowledged} of them before the signal; ${recoveries.length} recoveries, all whole`);
  } finally {
    stop();
    for (const { client } of everybody) client.close();
    await server.stop();
    rmSync(data, { recursive: true, force: true });
  }
});
