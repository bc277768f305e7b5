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
  await shows(a.page, '#people-title', 'Seen last');
  const numbers = Array.from({ length: 20 }, (_, i) => `number ${i + 1}.`);
  for (const text of numbers) await b.say(text);
  await b.hears('number 20.');
  assert.equal(await a.text('#status'), 'connection cut', 'all 20 were sent while A was away');
  assert.deepEqual(await a.said(), ['before']);
  await a.say('written while away');
  await shows(a.page, '#status', 'connected');
  await shows(a.page, '#people-title', 'Here now');
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
  assert.ok(order.indexOf('cut') >= 0 && order.indexOf('cut') < order.indexOf('new-room'), order.join(', '));
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
  await by('button', 'New room').click();
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

const line = (person, text) => person.page.locator('.entry-line', { hasText: text }).last();
/** Who a line is by, as it is seen: the head of the group that it stands in. */
const by = (person, text) => line(person, text).locator('.by b').textContent();
const atEnd = () => {
  const box = document.querySelector('#transcript');
  return box.scrollHeight - box.scrollTop - box.clientHeight < 2;
};

test('a long draft takes its place from the old messages, not from the newest; who reads further up is left there', async () => {
  const a = await enter('draft', 'Ann', { viewport: { width: 390, height: 844 } });
  for (let i = 1; i <= 40; i++) await a.say(`line ${i}.`);
  await a.hears('line 40.');
  const height = () => a.page.evaluate(() => document.querySelector('#transcript').clientHeight);
  const before = await height();
  // Without an event: what is told to others when somebody types draws the page anew as well.
  const draft = (text) => a.page.evaluate((given) => {
    document.querySelector('#text').value = given;
    return new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
  }, text);
  await draft('one\ntwo\nthree\nfour\nfive\nsix');
  assert.ok(await height() < before - 60, 'the field has grown');
  assert.ok(await a.page.evaluate(atEnd), 'the newest message is in view');
  await a.page.setViewportSize({ width: 390, height: 500 });
  await a.page.waitForFunction(atEnd);
  await draft('');
  assert.ok(await a.page.evaluate(atEnd));
  // Further up nothing moves, and what is new is offered.
  await a.page.evaluate(() => document.querySelector('#transcript').scrollTo(0, 100));
  const b = await enter('draft', 'Bob');
  await b.say('and this?');
  await a.page.locator('#newer').waitFor();
  await draft('one\ntwo\nthree');
  assert.equal(await a.page.evaluate(() => document.querySelector('#transcript').scrollTop), 100);
  await a.page.click('#newer');
  await a.page.waitForFunction(atEnd);
  await a.close();
  await b.close();
});

test('two of one name are two: in what they said, among those who are here, when they type, and read aloud', async () => {
  const a = await enter('twins', 'Ann');
  const b = await enter('twins', 'ann');
  const c = await enter('twins', 'Cid');
  await shows(c.page, '#people-list', /Cid.*Ann.*ann \(2\)/s);
  await a.say('I am the first.');
  await c.hears('I am the first.');
  await b.say('I am the second.');
  await c.hears('I am the second.');
  assert.equal(await line(c, 'the second').evaluate((one) => one.classList.contains('follows')), false, 'no group of two people');
  assert.deepEqual([await by(c, 'the first'), await by(c, 'the second')], ['Ann', 'ann (2)']);
  await shows(c.page, '#announcer', /ann \(2\): I am the second\./);
  await b.page.locator('#text').pressSequentially('hm');
  await shows(c.page, '#typists', 'ann (2) is typing');
  // Each sees of oneself what the others see, and the same numbers stand on the screen of who came late.
  await shows(b.page, '#people-list', /^ann \(2\) \(you\)Ann/);
  const d = await enter('twins', 'Dot');
  await shows(d.page, '#people-list', /Ann.*ann \(2\)/s);
  await d.hears('I am the second.');
  assert.deepEqual([await by(d, 'the first'), await by(d, 'the second')], ['Ann', 'ann (2)']);
  // Who goes on under another name gives the number back.
  await b.page.click('#rename');
  await b.page.fill('#name', 'Bea');
  await b.page.press('#name', 'Enter');
  await shows(c.page, '#people-list', /Cid.*Ann.*Bea/s);
  assert.doesNotMatch(await c.page.locator('#people-list').textContent(), /\(2\)/);
  for (const one of [a, b, c, d]) {
    assert.deepEqual(one.faults, []);
    await one.close();
  }
});

test('a number is kept while others of the name come and go, and is the same on every screen', async () => {
  const { page, close } = await browser.open(`${server.url}/docs/errors`);
  const told = await page.evaluate(async () => {
    const { Names, shown } = await import('/assets/chat/names.js');
    const names = new Names();
    const member = (client, since, name = 'Ann') => ({ client, state: { name, since } });
    const numbers = (...clients) => clients.map((client) => names.of(client, 'Ann').number).join(' ');
    const steps = [];
    names.here([member('z', 1), member('a', 2), { client: 'n' }, member('b', 3, 'Bob')]);
    steps.push(numbers('z', 'a'));
    names.here([member('z', 1), member('a', 2), member('c', 0), member('q', 'x', '  ANN ')]);
    steps.push(numbers('z', 'a', 'c', 'q'));
    names.here([member('a', 2), member('c', 0)]);
    steps.push(numbers('a', 'c', 'z'));
    names.here([member('a', 2), member('c', 0), member('d', 9), member('e', 8)]);
    steps.push(numbers('a', 'c', 'e', 'd'));
    names.here([member('d', 9)]);
    steps.push(numbers('d'));
    steps.push(names.of('b', 'Ann').number, names.of('a', 'Bob').number, names.of(undefined, 'Ann').number);
    steps.push(shown('  x '), shown(' '), shown(7), shown('\u{1F600}'.repeat(40)) === '\u{1F600}'.repeat(32));
    return steps;
  });
  assert.deepEqual(told, ['1 2', '1 2 3 4', '2 3 1', '2 3 1 4', '1', 1, 1, 1, 'x', '', '', true]);
  await close();
});

test('a very long name is cut where there is no place for it, and stands whole in its title', async () => {
  const long = 'W'.repeat(32);
  const a = await enter('wide', 'Ann');
  const b = await enter('wide', `${long}WWW`);
  const c = await enter('wide', long);
  for (const one of [b, c]) await one.say('hello');
  await shows(a.page, '#people-list', /\(2\)/);
  await a.page.locator('.entry-line .who', { hasText: '(2)' }).waitFor();
  for (const width of [1280, 360]) {
    await a.page.setViewportSize({ width, height: 640 });
    if (width === 360) await a.page.click('#people-count');
    const out = await a.page.evaluate(() => [...document.querySelectorAll('#people-list li, .by')].filter((one) => one.scrollWidth > one.clientWidth).map((one) => one.textContent));
    assert.deepEqual(out, []);
    const last = a.page.locator('#people-list .who').last();
    assert.equal(await last.getAttribute('title'), `${long} (2)`);
    const [number, panel] = [await last.locator('span').boundingBox(), await a.page.locator('#people').boundingBox()];
    assert.ok(number.x + number.width < panel.x + panel.width, 'the number is in view');
  }
  for (const one of [a, b, c]) await one.close();
});

test('another name: Cancel and Escape leave the old one, and go back to the message', async () => {
  const a = await enter('rename', 'Ann');
  await a.page.fill('#text', 'a draft');
  const leave = [() => a.page.click('#keep'), () => a.page.keyboard.press('Escape')];
  for (const go of leave) {
    await a.page.click('#rename');
    await a.page.fill('#name', 'Bob');
    await go();
    assert.equal(await a.page.evaluate(() => document.activeElement.id), 'text');
    assert.equal(await a.page.inputValue('#text'), 'a draft');
  }
  await a.page.press('#text', 'Enter');
  await a.hears('a draft');
  assert.equal(await by(a, 'a draft'), 'Ann');
  await a.close();
  // The first name is not asked for with a way out.
  const first = await browser.open(`${server.url}/demos/chat#rename`);
  await shows(first.page, '#status', 'connected');
  await first.page.focus('#name');
  await first.page.keyboard.press('Escape');
  assert.ok(await first.page.locator('#name').isVisible() && await first.page.locator('#keep').isHidden());
  await first.close();
});

test('what is on its way says so in words, seen and heard', async () => {
  const a = await enter('way', 'Ann');
  await a.page.click('#cut');
  await shows(a.page, '#status', 'connection cut');
  await a.say('held back');
  assert.equal(await line(a, 'held back').locator('.way').innerText(), 'Sending…');
  await shows(a.page, '#announcer', 'Sending');
  await shows(a.page, '#status', 'connected');
  await a.hears('held back');
  await shows(a.page, '#announcer', /Sent/);
  assert.equal(await a.page.locator('.way').count(), 0);
  await a.close();
});

test('what was not sent says why, and can be tried again', async () => {
  const config = 'pages = true\n[namespaces.chat]\npresence = true\naccess = { subscribe = "anyone", history = "anyone", presence = "anyone" }';
  const silent = await startServer({ config });
  const a = await enterChat(browser, silent, 'lobby', 'Ann');
  await a.say('not for others');
  await shows(a.page, '.trouble', /^Not sent: .+\. Try again/);
  await shows(a.page, '#announcer', /^Not sent: /);
  await a.page.getByRole('button', { name: 'Try again to send this', exact: true }).press('Enter');
  await shows(a.page, '.trouble', /^Not sent: /);
  assert.deepEqual([await a.said(), a.faults], [['not for others'], []]);
  await a.close();
  assert.equal(await silent.stop(), 0);
});

test('on the smallest phone there is a whole way to another room, and back from it', async () => {
  const a = await enter('lobby', 'Ann', { viewport: { width: 360, height: 640 } });
  const inside = async (selector) => {
    const box = await a.page.locator(selector).boundingBox();
    assert.ok(box.x >= 0 && box.x + box.width <= 360, `${selector}: ${box.x} to ${box.x + box.width}`);
  };
  await inside('#new-room');
  await a.page.click('#new-room');
  assert.equal(await a.page.evaluate(() => document.activeElement.id), 'add');
  for (const part of ['#add', '.add button', '#new-room']) await inside(part);
  await a.page.keyboard.press('Escape');
  assert.equal(await a.page.evaluate(() => document.activeElement.id), 'new-room');
  assert.ok(await a.page.locator('#room-list').isVisible() && await a.page.locator('#add').isHidden());
  await a.page.click('#new-room');
  await a.page.keyboard.type('Roof Garden');
  await a.page.keyboard.press('Enter');
  await shows(a.page, '#room-name', 'roof-garden');
  assert.ok(await a.page.locator('#room-list').isVisible());
  await inside('#room-list [aria-current]');
  await a.close();
});

test('each message runs the way it is written', async () => {
  const a = await enter('ways', 'Ann');
  await a.say('שלום לכולם');
  await a.say('hello all');
  await a.hears('hello all');
  const ways = await a.page.locator('.entry-line p').evaluateAll((all) => all.map((one) => getComputedStyle(one).direction));
  assert.deepEqual(ways, ['rtl', 'ltr']);
  await a.close();
});

test('two hundred are here: oneself first, the others in order, and the way to another name above them', async () => {
  const a = await enter('crowd', 'Zoe');
  await a.page.evaluate(async () => {
    const { connect } = await import('/sdk/everwire.js');
    for (let i = 199; i > 0; i--) {
      const room = connect('/ws').channel('chat:crowd');
      room.update({ name: `Person ${i}` });
      room.subscribe();
    }
  });
  await shows(a.page, '#people-count', '200 here');
  await a.page.waitForFunction(() => !document.querySelector('#people-list').textContent.includes('without'));
  const names = await a.page.locator('#people-list .who').allInnerTexts();
  assert.deepEqual([names.length, ...names.slice(0, 3), names.at(-1)], [200, 'Zoe', 'Person 1', 'Person 2', 'Person 199']);
  assert.ok((await a.page.locator('#rename').boundingBox()).y < 300);
  assert.deepEqual(a.faults, []);
  await a.close();
});

test('the past of a room is shown together, however slowly it comes', async () => {
  const a = await enter('slowly', 'Ann');
  for (const text of ['one', 'two', 'three', 'four']) await a.say(text);
  await a.hears('four');
  const { page, close } = await browser.open('about:blank');
  await page.addInitScript(() => {
    // Each frame comes in a frame of the screen of its own.
    const { set } = Object.getOwnPropertyDescriptor(WebSocket.prototype, 'onmessage');
    let turn = Promise.resolve();
    Object.defineProperty(WebSocket.prototype, 'onmessage', { set(hear) {
      set.call(this, (event) => (turn = turn.then(() => new Promise(requestAnimationFrame)).then(() => hear(event))));
    } });
    globalThis.counts = new Set();
    new MutationObserver(() => globalThis.counts.add(document.querySelectorAll('.entry-line').length)).observe(document, { childList: true, subtree: true });
  });
  await page.goto(`${server.url}/demos/chat#slowly`);
  await shows(page, '.entry-line:last-child p', 'four');
  assert.deepEqual(await page.evaluate(() => [...globalThis.counts]), [0, 4]);
  await close();
  await a.close();
});
