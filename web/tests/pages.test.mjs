import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { shows, startBrowser, startServer } from './world.mjs';

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
  assert.equal(spawnSync('curl', ['--version']).status, 0, 'curl is missing: apt-get install -y curl');
  const command = await a.page.locator('#curl').textContent();
  const answer = execFileSync('sh', ['-c', command], { stdio: ['ignore', 'pipe', 'ignore'] }).toString();
  assert.ok(JSON.parse(answer).position.offset >= 1, answer);
  await shows(a.page, '#tape li :last-child', 'hello from curl');
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
  await shows(a.page, '#what', /^Everwire \d+\.\d+\.\d+, dev mode, just started/);
  const facts = await a.text('.facts');
  for (const part of [`${server.url}/`, `${server.ws}/ws`, `${server.ws}/echo`, `${server.url}/api`]) assert.ok(facts.includes(part), `${part} in ${facts}`);
  await shows(a.page, '[data-fact="connections"] dd', '1');
  await a.close();
});

test('what is to be copied is copied, and the button says so', async () => {
  const permissions = ['clipboard-read', 'clipboard-write'];
  for (const [path, ids] of [['/', ['curl', 'lines']], ['/demos/echo', ['short', 'source']]]) {
    const { page, faults, close } = await browser.open(server.url + path, { permissions });
    await shows(page, '#status', /^connected/);
    if (ids.includes('source')) await shows(page, '#source', /connect\(\);/);
    for (const id of ids) {
      await page.click(`[data-copy=${id}]`);
      await shows(page, `[data-copy=${id}]`, /^Copied/);
      assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await page.locator(`#${id}`).textContent());
    }
    assert.deepEqual(faults, []);
    await close();
  }
});

test('every link of every page leads somewhere', async () => {
  const found = new Set();
  for (const path of ['/', '/demos/echo', '/demos/chat', '/docs/errors', '/nothing/here']) {
    const { page, close } = await browser.open(server.url + path);
    for (const href of await page.locator('a[href]').evaluateAll((links) => links.map((link) => link.href))) found.add(href.split('#')[0]);
    await close();
  }
  found.delete(`${server.url}/nothing/here`); // its own jump to the content
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

test('errors: every line of the index leads to its entry', async () => {
  const { page, faults, close } = await browser.open(`${server.url}/docs/errors`);
  const targets = await page.locator('.index a').evaluateAll((links) => links.map((link) => document.getElementById(link.hash.slice(1))?.querySelector('h3').textContent));
  const names = await page.locator('.index a').allInnerTexts();
  assert.ok(names.includes('rate_limited') && names.includes('4100'), names.join());
  assert.deepEqual(targets, names);
  await page.click('.index a[href="#rate_limited"]');
  await page.waitForFunction(() => document.querySelector('#rate_limited').getBoundingClientRect().top < innerHeight);
  assert.deepEqual(faults, []);
  await close();
});

test('an address with nothing behind it gets a page that leads on', async () => {
  const answer = await fetch(`${server.url}/nothing/here`, { headers: { accept: 'text/html' } });
  assert.equal(answer.status, 404);
  const { page, close } = await browser.open(`${server.url}/nothing/here`);
  assert.equal(await page.locator('h1').innerText(), 'There is nothing here.');
  await page.click('main a[href="/demos/chat"]');
  await shows(page, '#status', 'connected');
  await close();
});
