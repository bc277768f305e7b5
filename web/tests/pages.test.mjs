import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { WebSocket } from 'ws';
import { shows, startBrowser, startServer } from './world.mjs';

const here = fileURLToPath(new URL('.', import.meta.url));
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

test('home: the counter moves on every open page, without a refresh', async () => {
  const a = await browser.open(server.url);
  const b = await browser.open(server.url);
  for (const { page } of [a, b]) await shows(page, '#here', '2');
  const before = Number(await b.text('#count'));
  await a.page.click('#key');
  await shows(b.page, '#count', String(before + 1));
  await shows(a.page, '#tape li .who', 'you');
  await shows(b.page, '#tape li .who', 'a visitor');
  await b.close();
  await shows(a.page, '#here', '1');
  assert.deepEqual([a.faults, b.faults], [[], []]);
  await a.close();
});

test('home: the curl that it shows works, and arrives on the page', async () => {
  const a = await browser.open(server.url);
  await shows(a.page, '#status', /^connected/);
  const command = await a.page.locator('#curl').textContent();
  const answer = execFileSync('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  assert.ok(JSON.parse(answer).position.offset >= 1, answer);
  await shows(a.page, '#tape li :last-child', 'hello from a terminal');
  await shows(a.page, '#tape li .who', 'the API');
  assert.deepEqual(a.faults, []);
  await a.close();
});

test('home: the ten lines run', async () => {
  const a = await browser.open(server.url);
  await shows(a.page, '#status', /^connected/);
  const lines = await a.page.locator('#lines').textContent();
  assert.equal(lines.split('\n').length, 10);
  // The page's own rules forbid to make code from text; a module of the page runs it.
  await a.page.route('**/ten-lines.js', (route) => route.fulfill({ contentType: 'text/javascript', body: lines }));
  await a.page.evaluate(() => import('/ten-lines.js'));
  await shows(a.page, '#tape li :last-child', 'hello from my own code');
  assert.deepEqual(a.faults, []);
  await a.close();
});

test('home: it says what runs and where', async () => {
  const a = await browser.open(server.url);
  await shows(a.page, '#what', /^Everwire \d+\.\d+\.\d+/);
  const facts = await a.text('#facts');
  for (const part of [`${server.url}/`, `${server.ws}/ws`, `${server.ws}/echo`, `${server.url}/api`]) assert.ok(facts.includes(part), `${part} in ${facts}`);
  await shows(a.page, '[data-fact="Connections open"] dd', '1');
  await a.close();
});

test('every link of every page leads somewhere', async () => {
  const found = new Set();
  for (const path of ['/', '/demos/echo', '/demos/chat', '/docs/errors']) {
    const { page, close } = await browser.open(server.url + path);
    for (const href of await page.locator('a[href]').evaluateAll((links) => links.map((link) => link.href))) found.add(href.split('#')[0]);
    await close();
  }
  for (const href of found) assert.equal((await fetch(href)).status, 200, href);
});

test('echo: what is sent comes back, as text; closing and opening again is told in words', async () => {
  const a = await browser.open(`${server.url}/demos/echo`);
  await shows(a.page, '#status', 'connected');
  await a.page.fill('#text', '<img src=x onerror=alert(1)>');
  await a.page.press('#text', 'Enter');
  await shows(a.page, '#log .received :last-child', 'Server received: <img src=x onerror=alert(1)>');
  await shows(a.page, '#log .sent :last-child', '<img src=x onerror=alert(1)>');
  assert.equal(await a.page.locator('#log img').count(), 0);
  assert.match(await a.text('#log .sent time'), /^\d\d:\d\d:\d\d$/);
  await a.page.click('#toggle');
  await shows(a.page, '#status', 'disconnected');
  assert.ok(await a.page.locator('#send').isDisabled());
  await a.page.click('#toggle');
  await shows(a.page, '#status', 'connected');
  assert.equal(await a.page.locator('#source').textContent(), await (await fetch(`${server.url}/assets/echo.js`)).text());
  assert.deepEqual(a.faults, []);
  await a.close();
});

test('the tutorial\'s page, opened from disk, talks to the echo', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'everwire-tutorial-'));
  try {
    const source = readFileSync(join(here, '../tutorial/index.html'), 'utf8');
    assert.ok(source.includes("new WebSocket('ws://localhost:8765')"));
    const file = join(folder, 'index.html');
    writeFileSync(file, source.replace('ws://localhost:8765', server.ws));
    const a = await browser.open(pathToFileURL(file).href);
    await shows(a.page, '#status', 'connected');
    await a.page.fill('#text', 'hello');
    await a.page.press('#text', 'Enter');
    await shows(a.page, '#log li:last-child', 'Server received: hello');
    assert.deepEqual(a.faults, []);
    await a.close();
  } finally {
    rmSync(folder, { recursive: true });
  }
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

test('Node\'s own WebSocket talks to the echo', () => {
  // Since Node 22 it is there; 20 and 21 have it behind a flag.
  const flags = typeof globalThis.WebSocket === 'function' ? [] : ['--experimental-websocket'];
  const program = `const socket = new WebSocket('${server.ws}/');
    socket.onopen = () => socket.send('hello');
    socket.onmessage = (event) => { console.log(event.data); socket.close(1000); };
    socket.onclose = (event) => process.exit(event.code === 1000 ? 0 : 1);`;
  const run = spawnSync(process.execPath, [...flags, '-e', program], { timeout: 20_000 });
  assert.equal(run.status, 0, String(run.stderr));
  assert.equal(String(run.stdout).trim(), 'Server received: hello');
});

test('the Python client of the websockets package talks to the echo', () => {
  const python = process.env.EVERWIRE_PYTHON;
  assert.ok(python, 'EVERWIRE_PYTHON must name a Python that has websockets: '
    + 'python3 -m venv ~/.cache/everwire/venv && ~/.cache/everwire/venv/bin/pip install --require-hashes -r web/tests/requirements.txt');
  const run = spawnSync(python, [join(here, 'python_echo.py'), server.ws], { timeout: 30_000 });
  assert.equal(run.status, 0, `${run.error ?? ''}${run.stdout}${run.stderr}`);
  assert.match(String(run.stdout), /^3 of 3$/m);
});
