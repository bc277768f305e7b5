import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { shows, startBrowser, startServer, tellStats } from './world.mjs';

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
  for (const part of [`${server.url}/`, `${server.ws}/ws`, `${server.ws}/echo`, `POST ${server.url}/api/publish`]) assert.ok(facts.includes(part), `${part} in ${facts}`);
  await shows(a.page, '[data-fact="connections"] dd', '1');
  await a.close();
});

/** A page with `/stats` telling this beside what it tells. */
async function openWith(path, more) {
  const one = await browser.open('about:blank');
  const told = { ...more };
  await tellStats(one.page, told);
  await one.page.goto(server.url + path);
  return { ...one, told };
}

test('home: what it says about pages of other origins is true of the mode', async () => {
  const dev = await browser.open(server.url);
  await dev.page.locator('#elsewhere-dev').waitFor();
  assert.ok(await dev.page.locator('#elsewhere-serve').isHidden());
  await dev.close();
  const serve = await openWith('/', { mode: 'serve' });
  await serve.page.locator('#elsewhere-serve').waitFor();
  assert.ok(await serve.page.locator('#elsewhere-dev').isHidden());
  await serve.close();
});

test('home: without the namespace `demo` it says so, tries nothing, and comes alive when it is there', async () => {
  const { page, faults, told, text, close } = await openWith('/', { demo: false, echo: false });
  const sockets = [];
  page.on('websocket', (socket) => sockets.push(socket.url()));
  await shows(page, '#status', 'not connected: there is nothing to listen to');
  assert.match(await text('.none .lead'), /namespace demo, and this server has none/);
  for (const part of ['#key', '#tape', '#curl', '#lines']) assert.ok(await page.locator(part).isHidden(), part);
  assert.match(await text('.demos'), /Switched off on this server/);
  assert.match(await text('.none'), /takes them only with --insecure/);
  await page.waitForResponse('**/stats');
  assert.deepEqual([sockets, faults], [[], []]);
  told.demo = true;
  await page.locator('#key').waitFor();
  await shows(page, '#status', /^connected/);
  await close();
});

test('home: the lines that switch it on do so', async () => {
  const { page, close } = await openWith('/', { demo: false });
  await page.locator('#switch').waitFor();
  const lines = await page.locator('#switch').textContent();
  await close();
  const other = await startServer({ config: `pages = true\n${lines}` });
  const a = await browser.open(other.url);
  await shows(a.page, '#here', '1');
  await a.page.click('#key');
  await shows(a.page, '#tape li .who', 'you');
  await a.page.locator('#elsewhere-serve').waitFor();
  // Figures are for whoever has a key.
  await shows(a.page, '#what', /^Everwire \d+\.\d+\.\d+, serve mode$/);
  assert.ok(await a.page.locator('[data-fact="connections"]').isHidden());
  assert.deepEqual(a.faults, []);
  await a.close();
  assert.equal(await other.stop(), 0);
});

test('chat: where there is none the page asks for no name, and the lines that it gives bring one', async () => {
  const bare = await startServer({ config: 'pages = true' });
  const { page, faults, close } = await browser.open(`${bare.url}/demos/chat`);
  await page.locator('#no-chat').waitFor();
  for (const part of ['#name', '#text', '#messages']) assert.ok(await page.locator(part).isHidden(), part);
  assert.match(await page.locator('#no-chat').innerText(), /only with --insecure/);
  assert.deepEqual(faults, []);
  const lines = await page.locator('#switch').textContent();
  await close();
  assert.equal(await bare.stop(), 0);
  const other = await startServer({ config: `pages = true\n${lines}` });
  const a = await browser.open(`${other.url}/demos/chat`);
  await a.page.locator('#messages .quiet', { hasText: 'Nobody' }).waitFor();
  assert.ok(await a.page.locator('#name').isVisible() && await a.page.locator('#no-chat').isHidden());
  await a.close();
  assert.equal(await other.stop(), 0);
});

test('echo: where it is switched off the page says so, says how to switch it on, and that line does it', async () => {
  const { page, faults, close } = await openWith('/demos/echo', { echo: false });
  const sockets = [];
  page.on('websocket', (socket) => sockets.push(socket.url()));
  await shows(page, '#status', 'switched off on this server');
  assert.ok(await page.locator('#text').isHidden());
  await shows(page, '#source', /connect\(\);/);
  assert.deepEqual([sockets, faults], [[], []]);
  const line = await page.locator('#switch').innerText();
  await close();
  const other = await startServer({ config: `${line}\npages = true` });
  const a = await browser.open(`${other.url}/demos/echo`);
  await shows(a.page, '#status', 'connected');
  await a.close();
  assert.equal(await other.stop(), 0);
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

test('echo: the focus stays in the field, however one sends', async () => {
  const { page, close } = await browser.open(`${server.url}/demos/echo`);
  await shows(page, '#status', 'connected');
  for (const send of [() => page.click('#send'), () => page.press('#text', 'Enter')]) {
    await page.fill('#text', 'hello');
    await send();
    assert.equal(await page.evaluate(() => document.activeElement.id), 'text');
    assert.equal(await page.inputValue('#text'), '');
  }
  await close();
});

test('echo: a thousand messages leave a short log at its end, which says how much is gone', async () => {
  const { page, faults, close } = await browser.open(`${server.url}/demos/echo`);
  await shows(page, '#status', 'connected');
  // What a screen reader is told of: what is added in the live region, and there once for each line.
  await page.evaluate(() => {
    globalThis.added = 0;
    new MutationObserver((all) => all.forEach((one) => (globalThis.added += one.addedNodes.length)))
      .observe(document.querySelector('[role=log][aria-live=polite]'), { childList: true, subtree: true, characterData: true });
    for (let i = 1; i <= 1000; i++) {
      document.querySelector('#text').value = `number ${i}.`;
      document.querySelector('#form').requestSubmit();
    }
  });
  await shows(page, '#log li:last-child span', 'Server received: number 1000.');
  assert.equal(await page.locator('#log li').count(), 200);
  await shows(page, '#older', 'Lines that are not shown any more: 1800');
  assert.equal(await page.evaluate(() => globalThis.added), 2000);
  await page.waitForFunction(() => {
    const { scrollTop, scrollHeight, clientHeight } = document.querySelector('.said');
    return scrollHeight - scrollTop - clientHeight < 2;
  });
  assert.deepEqual(faults, []);
  await close();
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
