// Every page and every state of it that differs to the eye: at a phone's and a desktop's width, light and dark. Each is
// saved to be looked at, and checked for what a machine sees: accessibility, nothing that sticks out, nothing that jumps.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import axe from 'axe-core';
import { enterChat, here, shows, startBrowser, startServer, tellStats } from './world.mjs';

const folder = process.env.EVERWIRE_SCREENSHOTS ?? mkdtempSync(join(tmpdir(), 'everwire-screens-'));
const SIZES = { phone: { width: 390, height: 844 }, desktop: { width: 1280, height: 800 } };
const SILENT = 'pages = true\n[namespaces.chat]\npresence = true\naccess = { subscribe = "anyone", history = "anyone", presence = "anyone" }\n';
const LOCKED = 'connect_required = true\npages = true\n[namespaces.chat]\npresence = true\n';
let server;
let locked;
let silent;
let bare;
let browser;
let others = [];
before(async () => {
  mkdirSync(folder, { recursive: true });
  server = await startServer();
  locked = await startServer({ config: LOCKED });
  silent = await startServer({ config: SILENT });
  bare = await startServer({ config: 'pages = true' });
  browser = await startBrowser();
  console.log(`screenshots: ${folder}`);
});
after(async () => {
  await browser?.stop();
  await server?.stop();
  await locked?.stop();
  await silent?.stop();
  await bare?.stop();
});

/** What a page looks like when it has come, and what is done to it then. */
const at = (path, come, act = async () => {}) => ({ url: () => server.url + path, come, act });
/** The same with `/stats` telling this beside what it tells. */
const told = (path, more, come) => ({
  ...at(path, come),
  // What this server has not got is known only when it has told so; up to here a visitor is not disturbed.
  jump: 0.1,
  before: (page) => tellStats(page, more),
});
const connected = (page) => shows(page, '#status', /^connected/);
const named = (act) => async (page) => {
  await page.fill('#name', 'Ann');
  await page.press('#name', 'Enter');
  await act(page);
};
const say = async (page, ...texts) => {
  for (const text of texts) {
    await page.fill('#text', text);
    await page.press('#text', 'Enter');
  }
  await page.locator('.entry-line:not(.sending) p', { hasText: texts.at(-1) }).last().waitFor();
};
/** Somebody else, in a page of its own that stays open. */
const joined = async (room, name) => {
  const other = await enterChat(browser, server, room, name);
  others.push(other);
  return other;
};
const cut = async (page) => {
  await page.click('#cut');
  await shows(page, '#status', 'connection cut');
};

const pages = {
  'home-empty': at('/', async (page) => {
    await shows(page, '#here', /[1-9]/);
    await shows(page, '#what', /^Everwire \d/);
  }),
  home: at('/', async (page) => {
    await shows(page, '#here', /[1-9]/);
    await shows(page, '#what', /^Everwire \d/);
  }, async (page) => {
    await page.click('#key');
    await shows(page, '#tape li .who', 'you');
    await fetch(`${server.url}/api/publish`, {
      method: 'POST', headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ channel: 'demo:wire', data: { text: 'a longer line from a program, which has to end somewhere on a telephone' } }),
    });
    await shows(page, '#tape li .who', 'the API');
  }),
  'home-refused': {
    url: () => locked.url,
    // A server that changed its mind after it told: what it tells of itself the page believes, and does not even try.
    before: (page) => tellStats(page, { demo: true }),
    come: (page) => shows(page, '#status', /no use/),
    act: async () => {},
  },
  echo: at('/demos/echo', async (page) => {
    await connected(page);
    await shows(page, '#source', /connect\(\);/);
  }),
  'echo-talked': at('/demos/echo', connected, async (page) => {
    for (const text of ['hello, wire', '<b>text</b> stays text', 'a line that is much longer than a telephone is wide, so that it has to be broken somewhere']) {
      await page.fill('#text', text);
      await page.press('#text', 'Enter');
      await shows(page, '#log .received:last-child :last-child', `Server received: ${text}`);
    }
  }),
  'echo-lost': at('/demos/echo', connected, async (page) => {
    await page.evaluate(() => {
      // Nobody answers at a port that is no server's.
      const { WebSocket: Real } = globalThis;
      globalThis.WebSocket = class extends Real {
        constructor() {
          super('ws://localhost:1');
        }
      };
    });
    await page.click('#toggle');
    await shows(page, '#status', 'disconnected');
    await page.click('#toggle');
    await page.locator('#log .problem').waitFor();
  }),
  'echo-off': told('/demos/echo', { echo: false }, async (page) => {
    await page.locator('#no-echo').waitFor();
    await shows(page, '#source', /connect\(\);/);
  }),
  'home-off': told('/', { demo: false, echo: false, mode: 'serve' }, (page) => shows(page, '#status', /nothing to listen to/)),
  'echo-closed': at('/demos/echo', connected, async (page) => {
    await page.click('#toggle');
    await shows(page, '#status', 'disconnected');
  }),
  'chat-first': at('/demos/chat#nobody-yet', async (page) => {
    await connected(page);
    await page.locator('#messages .quiet', { hasText: 'Nobody' }).waitFor();
  }),
  chat: at('/demos/chat#kitchen', connected, named(async (page) => {
    const bob = await joined('kitchen', 'Bob');
    await say(page, 'Good morning.', 'The kettle is on, and there is a line that is long enough to be broken on a telephone.');
    await bob.say('<i>Coming.</i>');
    await bob.hears('Coming');
    const cid = await joined('lobby', 'Cid');
    await cid.say('Anybody in the kitchen?');
    await bob.page.locator('#text').pressSequentially('hm');
    await shows(page, '#typists', 'Bob is typing');
    await page.locator('#room-list a[href="#lobby"] .unread', { hasText: 'unread' }).waitFor();
  })),
  'chat-people': at('/demos/chat#people', connected, named(async (page) => {
    await joined('people', 'Bob');
    await joined('people', 'A person with quite a long name, really');
    await shows(page, '#people-count', '3 here');
    if (await page.locator('#people-count').isVisible()) await page.click('#people-count');
  })),
  'chat-crowd': at('/demos/chat#crowd', connected, named(async (page) => {
    await page.evaluate(async () => {
      const { connect } = await import('/sdk/everwire.js');
      for (const name of ['Ann', 'W'.repeat(32), 'שלום']) {
        const room = connect('/ws').channel('chat:crowd');
        room.update({ name, typing: true });
        room.subscribe();
        await room.publish({ name, text: name === 'שלום' ? 'שלום לכולם, מה שלומכם היום?' : `I am called ${name}.` });
      }
    });
    await shows(page, '#typists', 'Several people are typing');
    await say(page, 'x'.repeat(200));
    if (await page.locator('#people-count').isVisible()) await page.click('#people-count');
  })),
  'chat-rename': at('/demos/chat#rename', connected, named(async (page) => {
    if (await page.locator('#people-count').isVisible()) await page.click('#people-count');
    await page.click('#rename');
    await page.locator('#keep').waitFor();
  })),
  'chat-new-room': at('/demos/chat#rooms', connected, named(async (page) => {
    if (await page.locator('#new-room').isVisible()) await page.click('#new-room');
    await page.fill('#add', 'roof garden');
  })),
  // That there is no such room is known only when it was asked for.
  'chat-none': { url: () => `${bare.url}/demos/chat`, jump: 0.1, come: (page) => page.locator('#no-chat').waitFor(), act: async () => {} },
  'chat-not-sent': { url: () => `${silent.url}/demos/chat#silent`, come: connected, act: named(async (page) => {
    await page.fill('#text', 'This will not be heard.');
    await page.press('#text', 'Enter');
    await page.locator('.trouble').waitFor();
  }) },
  'chat-unread': at('/demos/chat#unread', connected, named(async (page) => {
    await say(page, 'I am off.');
    await page.evaluate(() => (location.hash = 'lobby'));
    await shows(page, '#room-name', 'lobby');
    const bob = await joined('unread', 'Bob');
    await bob.say('You missed this.');
    await shows(page, '#room-list a[href="#unread"] .unread', '1 unread');
    await page.click('#room-list a[href="#unread"]');
    await page.locator('.mark').waitFor();
  })),
  'chat-cut': at('/demos/chat#cut', connected, named(async (page) => {
    await say(page, 'Before the cut.');
    await cut(page);
    await page.fill('#text', 'Written while there was no connection.');
    await page.press('#text', 'Enter');
    await page.locator('.sending').waitFor();
  })),
  'chat-long': at('/demos/chat#long', connected, named(async (page) => {
    await page.fill('#text', 'x'.repeat(2001));
    await page.press('#text', 'Enter');
    await shows(page, '#wrong', /2001 letters/);
  })),
  'chat-refused': { url: () => `${locked.url}/demos/chat`, come: (page) => shows(page, '#why', /wants a token/), act: async () => {} },
  errors: at('/docs/errors', async () => {}),
  'errors-one': at('/docs/errors#rate_limited', async () => {}),
  nothing: at('/nothing/here', async () => {}),
  tutorial: { url: tutorial, come: (page) => shows(page, '#status', 'connected'), act: async (page) => {
    await page.fill('#text', 'hello');
    await page.press('#text', 'Enter');
    await shows(page, '#log li:last-child', 'Server received: hello');
  } },
};

/** The tutorial's page on disk, with the address of this server. */
function tutorial() {
  const file = join(folder, 'tutorial.html');
  writeFileSync(file, readFileSync(join(here, '../tutorial/index.html'), 'utf8').replace('ws://localhost:8765', server.ws));
  return pathToFileURL(file).href;
}

/** Written into each page before its first line runs. */
function watchShifts() {
  globalThis.shifts = [];
  new PerformanceObserver((list) => {
    for (const { value, hadRecentInput, sources } of list.getEntries()) {
      if (!hadRecentInput) globalThis.shifts.push(`${value.toFixed(4)} ${sources.map(({ node }) => node?.id || node?.className || node?.nodeName).join(', ')}`);
    }
  }).observe({ type: 'layout-shift', buffered: true });
}

for (const [name, { url, come, act, jump = 0, before: prepare = async () => {} }] of Object.entries(pages)) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    test(`${name}, ${size}`, async () => {
      const one = await browser.open('about:blank', { viewport, reducedMotion: 'reduce' });
      const { page } = one;
      await page.addInitScript(watchShifts);
      await prepare(page);
      await page.goto(url());
      await come(page);
      // Two frames: what was just drawn is laid out, and told.
      const shifts = await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(globalThis.shifts)))));
      const moved = shifts.reduce((sum, words) => sum + parseFloat(words), 0);
      assert.ok(moved <= jump, `while the page comes something jumps: ${shifts.join('; ')}`);
      await act(page);
      await page.evaluate(axe.source);
      // All rules in the light; what the dark can change is contrast.
      for (const [colorScheme, rules] of [['light', {}], ['dark', { runOnly: ['color-contrast'] }]]) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: join(folder, `${name}-${size}-${colorScheme}.png`), fullPage: true });
        const { violations } = await page.evaluate((given) => globalThis.axe.run(given), rules);
        const found = violations.flatMap(({ id, nodes }) => nodes.map((node) => `${id}: ${node.target} ${node.failureSummary}`));
        assert.deepEqual(found, [], colorScheme);
      }
      const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(wide <= 0, `${wide} px stick out at the side`);
      for (const other of others) await other.close();
      others = [];
      await one.close();
    });
  }
}

test('the check for accessibility can fail', async () => {
  const { page, close } = await browser.open(`${server.url}/demos/echo`);
  await page.evaluate(() => document.querySelector('label').remove());
  await page.evaluate(() => document.querySelector('#text').removeAttribute('placeholder'));
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map(({ id }) => id), ['label']);
  await close();
});

for (const path of ['/', '/demos/echo', '/demos/chat', '/docs/errors', '/nothing/here']) {
  test(`${path}: with the keyboard one gets everywhere, and sees where one is`, async () => {
    const { page, close } = await browser.open(server.url + path, { viewport: SIZES.phone, reducedMotion: 'reduce' });
    const wanted = await page.locator('a[href], button, input, textarea, [tabindex="0"]').evaluateAll((all) => all.filter((one) => one.checkVisibility() && !one.disabled).length);
    const stops = [];
    for (let i = 0; i < wanted; i++) {
      await page.keyboard.press('Tab');
      stops.push(await page.evaluate(() => {
        const one = document.activeElement;
        const style = getComputedStyle(one);
        const box = one.getBoundingClientRect();
        globalThis.seen ??= new Set();
        const first = !globalThis.seen.has(one);
        globalThis.seen.add(one);
        return {
          what: one.id || one.textContent.trim(),
          first,
          ringed: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
          in_view: box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth,
        };
      }));
    }
    assert.equal(stops[0].what, 'To the content');
    const bad = stops.filter((stop) => !stop.first || !stop.ringed || !stop.in_view);
    assert.deepEqual(bad, [], `${wanted} stops`);
    await close();
  });
}

for (const [what, viewport] of Object.entries({
  'a window at 400 percent': { width: 320, height: 256 },
  'a window at 200 percent': { width: 640, height: 400 },
  'the smallest phone': { width: 360, height: 640 },
})) {
  test(`${what}: nothing sticks out, and all there is to press and to fill in can be reached`, async () => {
    const { page, close } = await browser.open('about:blank', { viewport, reducedMotion: 'reduce' });
    for (const path of ['/', '/demos/echo', '/demos/chat#a-room-with-a-name-that-is-long', '/docs/errors', '/nothing/here']) {
      await page.goto(server.url + path);
      if (path.startsWith('/demos/chat')) await connected(page);
      const bad = await page.evaluate(() => {
        const { scrollWidth, scrollHeight } = document.documentElement;
        const out = [...document.querySelectorAll('a[href], button, input, textarea')].filter((one) => one.checkVisibility() && !one.closest('.room-list, .skip, pre') && one.className !== 'skip')
          .filter((one) => {
            const box = one.getBoundingClientRect();
            return box.left < 0 || box.right > innerWidth || box.bottom + scrollY > scrollHeight;
          });
        return [...out.map((one) => one.id || one.textContent), ...(scrollWidth > innerWidth ? [`${scrollWidth} px wide`] : [])];
      });
      assert.deepEqual(bad, [], path);
    }
    await close();
  });
}

test('text stands out from its ground: at least 4.5 to 1, light and dark', () => {
  const css = readFileSync(join(here, '../assets/everwire.css'), 'utf8');
  const [light, dark] = [...css.matchAll(/:root \{([^}]*)\}/g)].map(([, body]) =>
    Object.fromEntries([...body.matchAll(/--([a-z-]+): (#[0-9a-f]{6})/g)].map(([, name, color]) => [name, color])));
  for (const theme of [light, { ...light, ...dark }]) {
    for (const ground of ['paper', 'sheet']) {
      for (const ink of ['ink', 'soft', 'copper', 'verdigris', 'amber', 'brick']) {
        const ratio = contrast(theme[ink], theme[ground]);
        assert.ok(ratio >= 4.5, `${ink} on ${ground}: ${ratio.toFixed(2)}`);
      }
    }
    assert.ok(contrast(theme['on-copper'], theme.copper) >= 4.5);
    assert.ok(contrast(theme['on-copper'], theme['copper-deep']) >= 4.5);
  }
});

/** WCAG 2.2, "contrast ratio". */
function contrast(a, b) {
  const light = (color) => {
    const [r, g, blue] = [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16) / 255)
      .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * blue + 0.05;
  };
  const [low, high] = [light(a), light(b)].sort((one, two) => one - two);
  return high / low;
}
