// Every page at a phone's and a desktop's width, light and dark: saved to be looked at, and checked for what a machine sees.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { shows, startBrowser, startServer } from './world.mjs';

const folder = process.env.EVERWIRE_SCREENSHOTS ?? mkdtempSync(join(tmpdir(), 'everwire-screens-'));
let server;
let browser;
before(async () => {
  mkdirSync(folder, { recursive: true });
  server = await startServer();
  browser = await startBrowser();
  console.log(`screenshots: ${folder}`);
});
after(async () => {
  await browser?.stop();
  await server?.stop();
});

/** name -> address, and what to do and to wait for until there is something to see */
const pages = {
  home: ['/', async (page) => {
    await shows(page, '#here', /[1-9]/);
    await page.click('#key');
    await shows(page, '#tape li .who', 'you');
    await shows(page, '#what', /^Everwire/);
  }],
  echo: ['/demos/echo', async (page) => {
    await shows(page, '#status', 'connected');
    await page.fill('#text', 'hello, wire');
    await page.press('#text', 'Enter');
    await shows(page, '#log .received :last-child', 'Server received: hello, wire');
  }],
  'chat-empty': ['/demos/chat#nobody-yet', async (page) => {
    await page.locator('#messages .quiet', { hasText: 'Nobody' }).waitFor();
  }],
  chat: ['/demos/chat', async (page) => {
    await page.fill('#name', 'Ann');
    await page.press('#name', 'Enter');
    for (const text of ['Good morning.', 'The kettle is on.', 'A line that is long enough to be broken on a telephone, and short on a desk.']) {
      await page.fill('#text', text);
      await page.press('#text', 'Enter');
    }
    await page.locator('.entry-line:not(.sending) p', { hasText: 'telephone' }).last().waitFor();
  }],
  'chat-cut': ['/demos/chat', async (page) => {
    await shows(page, '#status', 'connected');
    await page.click('#cut');
    await shows(page, '#status', 'connection cut');
  }],
  errors: ['/docs/errors', async () => {}],
};

for (const [name, [path, act]] of Object.entries(pages)) {
  for (const width of [390, 1280]) {
    for (const colorScheme of ['light', 'dark']) {
      test(`${name}, ${width} px, ${colorScheme}`, async () => {
        const height = width === 390 ? 844 : 900;
        const one = await browser.open(server.url + path, { viewport: { width, height }, colorScheme, reducedMotion: 'reduce' });
        await act(one.page);
        await one.page.screenshot({ path: join(folder, `${name}-${width}-${colorScheme}.png`), fullPage: true });
        const wide = await one.page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(wide <= 0, `${wide} px stick out at the side`);
        assert.deepEqual(one.faults, []);
        await one.close();
      });
    }
  }
}

test('text stands out from its ground: at least 4.5 to 1, light and dark', () => {
  const css = readFileSync(fileURLToPath(new URL('../assets/everwire.css', import.meta.url)), 'utf8');
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
