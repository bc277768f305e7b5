import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { enterChat, shows, startBrowser, startServer } from './world.mjs';

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

const enter = (room, name, options) => enterChat(browser, server, room, name, options);

test('a connection that is cut misses nothing: 20 messages, in order, each once', async () => {
  const a = await enter('cut', 'Ann');
  const b = await enter('cut', 'Bob');
  await a.say('before');
  await b.hears('before');
  await a.page.click('#cut');
  await shows(a.page, '#status', 'connection cut');
  const numbers = Array.from({ length: 20 }, (_, i) => `number ${i + 1}.`);
  for (const text of numbers) await b.say(text);
  await b.hears('number 20.');
  assert.equal(await a.text('#status'), 'connection cut', 'all 20 were sent while A was away');
  assert.deepEqual(await a.said(), ['before']);
  await a.say('written while away');
  await shows(a.page, '#status', 'connected');
  await a.hears('written while away');
  await b.hears('written while away');
  const expected = ['before', ...numbers, 'written while away'];
  assert.deepEqual(await a.said(), expected);
  assert.deepEqual(await b.said(), expected);
  assert.equal(await a.text('#recovered'), '20');
  assert.deepEqual([a.faults, b.faults], [[], []]);
  await a.close();
  await b.close();
});

test('what others write is shown as text', async () => {
  const a = await enter('text', 'Ann');
  const b = await enter('text', '<b>Bob</b>');
  await b.say('<img src=x onerror=alert(1)>');
  await a.hears('<img src=x onerror=alert(1)>');
  assert.deepEqual(await a.said(), ['<img src=x onerror=alert(1)>']);
  assert.equal(await a.page.locator('.entry-line .by b').innerText(), '<b>Bob</b>');
  assert.equal(await a.page.locator('#messages img, #people-list b').count(), 0);
  assert.deepEqual([a.faults, b.faults], [[], []]);
  await a.close();
  await b.close();
});

test('one sees who is here, who types, and who has gone', async () => {
  const a = await enter('people', 'Ann');
  const b = await enter('people', 'Bob');
  await shows(a.page, '#people-list', /Ann.*\(you\).*Bob/s);
  await b.page.locator('#text').pressSequentially('hm');
  await shows(a.page, '#typists', 'Bob is typing');
  await b.say('hm.');
  await a.hears('hm.');
  await shows(a.page, '#typists', '');
  await b.page.click('#cut');
  await shows(b.page, '#status', 'connection cut');
  await shows(b.page, '#status', 'connected');
  await shows(a.page, '#people-list', /Bob/);
  await b.page.goto('about:blank');
  await shows(a.page, '#people-list', /^Ann\s*\(you\)$/);
  assert.deepEqual(a.faults, []);
  await a.close();
  await b.close();
});

test('history is there on entry, and a room not looked at gets an unread mark', async () => {
  const a = await enter('here', 'Ann');
  await a.say('said before Bob came');
  await a.hears('said before Bob came');
  const b = await enter('here', 'Bob');
  await b.hears('said before Bob came');
  await b.page.evaluate(() => (location.hash = 'elsewhere'));
  await shows(b.page, '#room-name', 'elsewhere');
  await a.say('two');
  await a.say('three');
  await shows(b.page, '#room-list a[href="#here"] .unread', '2 unread');
  await b.page.click('#room-list a[href="#here"]');
  await b.hears('three');
  assert.equal(await b.page.locator('.mark').innerText(), 'new');
  await shows(b.page, '#room-list a[href="#here"] .unread', '');
  assert.deepEqual([a.faults, b.faults], [[], []]);
  await a.close();
  await b.close();
});

test('who stands on a room with the keyboard stays there while others talk', async () => {
  const a = await enter('focus', 'Ann');
  const b = await enter('focus', 'Bob');
  await a.page.focus('#room-list a[href="#kitchen"]');
  await b.say('does this take the focus?');
  await a.hears('does this take the focus?');
  assert.equal(await a.page.evaluate(() => document.activeElement.getAttribute('href')), '#kitchen');
  await a.close();
  await b.close();
});

test('it can be used with the keyboard alone, on a phone\'s width', async () => {
  const a = await browser.open(`${server.url}/demos/chat#keys`, { viewport: { width: 390, height: 844 } });
  await shows(a.page, '#status', 'connected');
  await a.page.keyboard.press('Tab');
  assert.equal(await a.page.evaluate(() => document.activeElement.textContent), 'To the content');
  const order = [];
  for (let i = 0; i < 20 && order.at(-1) !== 'name'; i++) {
    await a.page.keyboard.press('Tab');
    order.push(await a.page.evaluate(() => document.activeElement.id || document.activeElement.textContent.trim()));
  }
  assert.ok(order.indexOf('cut') >= 0 && order.indexOf('cut') < order.indexOf('add'), order.join(', '));
  await a.page.keyboard.type('Ann');
  await a.page.keyboard.press('Enter');
  await a.page.keyboard.type('one line');
  await a.page.keyboard.press('Shift+Enter');
  await a.page.keyboard.type('and another');
  await a.page.keyboard.press('Enter');
  await a.page.locator('.entry-line:not(.sending) p').waitFor();
  assert.equal(await a.page.locator('.entry-line p').innerText(), 'one line\nand another');
  await a.page.click('#people-count');
  assert.equal(await a.page.getAttribute('#people-count', 'aria-expanded'), 'true');
  await a.page.keyboard.press('Escape');
  assert.ok(await a.page.locator('#people').isHidden());
  assert.deepEqual(a.faults, []);
  await a.close();
});

test('a screen reader hears new messages, and neither the history nor one\'s own', async () => {
  const a = await enter('aloud', 'Ann');
  const b = await enter('aloud', 'Bob');
  await a.say('mine');
  await b.say('hello Ann');
  await shows(a.page, '#announcer', 'Bob: hello Ann');
  const late = await enter('aloud', 'Cid');
  await late.hears('hello Ann');
  await a.say('news');
  await shows(late.page, '#announcer', 'Ann: news');
  for (const one of [a, b, late]) await one.close();
});

test('everything is found by its role and name, as a screen reader finds it', async () => {
  const { page, faults, close } = await browser.open(`${server.url}/demos/chat#roles`, { viewport: { width: 390, height: 844 } });
  const by = (role, name) => page.getByRole(role, { name, exact: true });
  await by('textbox', 'Your name, for the others').fill('Ann');
  await by('button', 'Use this name').click();
  await by('textbox', 'Message').fill('hello');
  await by('button', 'Send').click();
  await by('region', 'Messages').getByRole('listitem').filter({ hasText: 'hello' }).waitFor();
  await by('region', 'Your connection').getByRole('status').filter({ hasText: 'connected' }).waitFor();
  await by('button', 'Cut my connection for 5 s').waitFor();
  const bob = await enter('lobby', 'Bob');
  await bob.say('anybody?');
  await by('navigation', 'Rooms').getByRole('link', { name: 'lobby 1 unread', exact: true }).waitFor();
  await by('button', '1 here').click();
  await by('complementary', 'Here now').getByRole('listitem').filter({ hasText: 'Ann (you)' }).waitFor();
  await by('button', 'Change your name').click();
  await by('textbox', 'Your name, for the others').fill('Anna');
  await by('button', 'Use this name').click();
  await by('textbox', 'Name of another room').fill('Roof Garden');
  await by('button', 'Go').click();
  await by('heading', 'roof-garden').waitFor();
  assert.deepEqual([faults, bob.faults], [[], []]);
  await bob.close();
  await close();
});

test('what is too long is refused in words, and stays in the field', async () => {
  const a = await enter('long', 'Ann');
  await a.say('x'.repeat(2001));
  await shows(a.page, '#wrong', /2001 letters/);
  assert.equal((await a.page.inputValue('#text')).length, 2001);
  await a.close();
});
