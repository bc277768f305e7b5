// Who talks to the server without a page of ours: the tutorial from disk, other libraries, other origins.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { WebSocket } from 'ws';
import { flagsForWebSocket, here, python, shows, startBrowser, startServer } from './world.mjs';

const PATIENCE_MS = 20_000;
const SDK = pathToFileURL(join(here, '../../sdk/js/src/everwire.js')).href;
let server;
let browser;
before(async () => {
  server = await startServer();
  browser = await startBrowser();
});
after(async () => {
  await browser?.stop();
  assert.equal(await server?.stop(), 0, 'the server ends cleanly on SIGTERM');
});

/** Opens a page that was saved to disk. */
async function fromDisk(source, run) {
  const folder = mkdtempSync(join(tmpdir(), 'everwire-disk-'));
  try {
    const file = join(folder, 'index.html');
    writeFileSync(file, source);
    const one = await browser.open(pathToFileURL(file).href);
    await run(one.page);
    assert.deepEqual(one.faults, []);
    await one.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** Runs a program in this Node; what it prints. */
function node(program, flags = []) {
  const run = spawnSync(process.execPath, [...flags, '--input-type=module', '-e', program], { timeout: PATIENCE_MS });
  assert.equal(run.status, 0, `${run.error ?? ''}${run.stderr}`);
  return String(run.stdout).trim();
}

test('the tutorial\'s page, opened from disk, talks to the echo', async () => {
  const source = readFileSync(join(here, '../tutorial/index.html'), 'utf8');
  assert.ok(source.includes("new WebSocket('ws://localhost:8765')"));
  await fromDisk(source.replace('ws://localhost:8765', server.ws), async (page) => {
    await shows(page, '#status', 'connected');
    await page.fill('#text', '<img src=x onerror=alert(1)>');
    await page.press('#text', 'Enter');
    await shows(page, '#log li:last-child', 'Server received: <img src=x onerror=alert(1)>');
    assert.equal(await page.locator('img').count(), 0);
  });
});

test('the five lines of the echo page, saved to disk, talk to the echo', async () => {
  const { page, close } = await browser.open(`${server.url}/demos/echo`);
  // Once it has this server's address.
  const source = await page.locator('#short', { hasText: server.ws }).textContent();
  await close();
  await fromDisk(source, async (saved) => {
    await saved.getByText('Server received: hello').waitFor();
  });
});

test('the ws package of npm talks to the echo: text comes back named, bytes as they are', async () => {
  for (const path of ['', '/', '/echo']) {
    const socket = new WebSocket(server.ws + path);
    await new Promise((open, fail) => socket.once('open', open).once('error', fail));
    const got = [];
    const both = new Promise((done) => socket.on('message', (data, binary) => got.push(binary ? data : String(data)) === 2 && done()));
    socket.send('héllo');
    socket.send(Buffer.from([0, 255, 7]));
    await both;
    assert.deepEqual(got, ['Server received: héllo', Buffer.from([0, 255, 7])]);
    const closed = new Promise((done) => socket.once('close', done));
    socket.close(1000);
    assert.equal(await closed, 1000);
  }
});

test('Node\'s own WebSocket talks to the echo', (t) => {
  const flags = flagsForWebSocket();
  t.diagnostic(`Node ${process.version}, ${flags.join(' ') || 'no flag needed'}`);
  const program = `const socket = new WebSocket('${server.ws}');
    socket.binaryType = 'arraybuffer';
    socket.onopen = () => { socket.send('hello'); socket.send(new Uint8Array([0, 255, 7])); };
    socket.onmessage = ({ data }) => {
      console.log(typeof data === 'string' ? data : [...new Uint8Array(data)].join());
      if (typeof data !== 'string') socket.close(1000);
    };
    socket.onclose = ({ code }) => process.exit(code === 1000 ? 0 : 1);`;
  assert.equal(node(program, flags), 'Server received: hello\n0,255,7');
});

test('the Python client of the websockets package talks to the echo', () => {
  const run = spawnSync(python(), [join(here, 'python_echo.py'), server.ws], { timeout: PATIENCE_MS });
  assert.equal(run.status, 0, `${run.error ?? ''}${run.stdout}${run.stderr}`);
  assert.match(String(run.stdout), /^3 of 3$/m);
});

test('our client runs on Node\'s own WebSocket, and on the one of ws', () => {
  const program = (room, start, options) => `${start} import { connect } from '${SDK}';
    const client = connect('${server.ws}/ws'${options});
    const room = client.channel('${room}', { rewind: 1 });
    await room.publish('hello');
    room.on('message', ({ data }) => { console.log(data); client.close(); });`;
  assert.equal(node(program('own', '', ''), flagsForWebSocket()), 'hello');
  const ws = pathToFileURL(join(here, 'node_modules/ws/wrapper.mjs')).href;
  assert.equal(node(program('ws', `import { WebSocket } from '${ws}';`, ', { WebSocket }')), 'hello');
});

test('a page of another origin gets the client, and connects in dev mode or once the config lists it', async () => {
  const pages = createServer((_, response) => response.setHeader('content-type', 'text/html').end('<!doctype html><title>mine</title>'));
  await new Promise((done) => pages.listen(0, '127.0.0.1', done));
  const origin = `http://localhost:${pages.address().port}`;
  const open = 'access = { subscribe = "anyone", publish = "anyone", history = "anyone", presence = "anyone" }';
  const listed = await startServer({ config: `origins = ["${origin}"]\n[namespaces.mine]\n${open}` });
  const strict = await startServer({ config: `[namespaces.mine]\n${open}` });
  try {
    const talk = async ({ sdk, ws }) => {
      const { connect } = await import(sdk);
      const client = connect(ws);
      const ended = new Promise((done) => client.on('state', ({ state, code }) => state === 'waiting' && done(code)));
      const room = client.channel('mine:room');
      const heard = new Promise((done) => room.on('message', ({ data }) => done(data)));
      room.on('state', ({ state }) => state === 'subscribed' && room.publish('across').catch(() => {}));
      const first = await Promise.race([heard, ended]);
      client.close();
      return first;
    };
    const to = (one) => ({ sdk: `${one.url}/sdk/everwire.js`, ws: `${one.ws}/ws` });
    const one = await browser.open(origin);
    assert.equal(await one.page.evaluate(talk, to(listed)), 'across');
    assert.equal(await one.page.evaluate(talk, to(server)), 'across', 'dev mode takes every page of this machine');
    assert.equal(await one.page.evaluate(talk, to(strict)), 1006, 'not listed: 403');
    await one.close();
  } finally {
    assert.deepEqual([await listed.stop(), await strict.stop()], [0, 0]);
    pages.closeAllConnections();
    await new Promise((done) => pages.close(done));
  }
});
