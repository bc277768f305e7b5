// The server as a process, and Chromium: what every test here stands on. What is missing fails, with the line to type.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';
import { lineWithSecret } from './secrets.mjs';

const CHROMIUM = process.env.EVERWIRE_CHROMIUM ?? '/usr/bin/chromium';
const START_MS = 20_000;

/** The folder that this file is in. */
export const here = fileURLToPath(new URL('.', import.meta.url));

/** The server's binary. */
function binary() {
  const path = process.env.EVERWIRE_BIN;
  assert.ok(path, 'EVERWIRE_BIN must name the server: cargo build && export EVERWIRE_BIN=$PWD/target/debug/everwire');
  assert.ok(existsSync(path), `EVERWIRE_BIN=${path} does not exist: cargo build`);
  return path;
}

/** A Python that has the packages of requirements.txt. */
export function python() {
  const path = process.env.EVERWIRE_PYTHON;
  const install = 'python3 -m venv ~/.cache/everwire/venv && '
    + '~/.cache/everwire/venv/bin/pip install --require-hashes -r web/tests/requirements.txt && '
    + 'export EVERWIRE_PYTHON=~/.cache/everwire/venv/bin/python';
  assert.ok(path, `EVERWIRE_PYTHON must name a Python with the package websockets: ${install}`);
  assert.ok(existsSync(path), `EVERWIRE_PYTHON=${path} does not exist: ${install}`);
  return path;
}

/** A Python that has the packages of schemathesis.txt. */
export function schemathesis() {
  const path = process.env.EVERWIRE_SCHEMATHESIS;
  const install = 'python3 -m venv ~/.cache/everwire/schemathesis && '
    + '~/.cache/everwire/schemathesis/bin/pip install --require-hashes -r web/tests/schemathesis.txt && '
    + 'export EVERWIRE_SCHEMATHESIS=~/.cache/everwire/schemathesis/bin/python';
  assert.ok(path, `EVERWIRE_SCHEMATHESIS must name a Python with the package schemathesis: ${install}`);
  assert.ok(existsSync(path), `EVERWIRE_SCHEMATHESIS=${path} does not exist: ${install}`);
  return path;
}

/** Flags with which this Node has a WebSocket of its own. */
export function flagsForWebSocket() {
  if (typeof globalThis.WebSocket === 'function') return [];
  const flag = '--experimental-websocket';
  assert.ok(process.allowedNodeEnvironmentFlags.has(flag), `Node ${process.version} has no WebSocket of its own, and these tests use it: install Node 22, or 20.10 and above`);
  return [flag];
}

/**
 * Starts the server in dev mode, or in serve mode with a config.
 *
 * @param {{ listen?: string, config?: string }} [how] `listen`: any port of 127.0.0.1, if not told; `config`: TOML
 * @returns {Promise<Server>}
 *
 * @typedef {object} Server
 * @property {string} url `http://localhost:<port>`, without a slash at its end
 * @property {string} ws the same with `ws:`
 * @property {string} listen where it listens; a second server can be started there when this one is gone
 * @property {() => Promise<number | null>} stop asks it to end, and tells its exit code
 * @property {() => Promise<void>} kill ends it without a warning
 * @property {(signal: NodeJS.Signals) => void} signal
 */
export async function startServer({ listen = '127.0.0.1:0', config } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'everwire-server-'));
  const mode = ['dev'];
  if (config !== undefined) {
    const file = join(folder, 'everwire.toml');
    // No test has a balancer that must see first that the server goes.
    writeFileSync(file, config.includes('[drain]') ? config : `${config}\n[drain]\nnotice = "0s"\n`);
    mode.splice(0, 1, 'serve', '--insecure', '--config', file);
  }
  // What the tests are told by EVERWIRE_... is no setting of the server, and it would say so.
  const env = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith('EVERWIRE_')));
  const child = spawn(binary(), [...mode, '--listen', listen], { env, stdio: ['ignore', 'pipe', 'pipe'] });
  const ended = new Promise((done) => child.once('close', (code) => {
    rmSync(folder, { recursive: true });
    done(code);
  }));
  const log = [];
  createInterface({ input: child.stderr }).on('line', (line) => log.push(line));
  const port = await portOf(child, ended, log);
  const searched = async () => {
    const code = await ended;
    // The secret itself is not told: who reads of the failure is not to have it.
    assert.equal(lineWithSecret(log, config), undefined, 'a secret stands in this line of the log');
    return code;
  };
  return {
    url: `http://localhost:${port}`,
    ws: `ws://localhost:${port}`,
    listen: `127.0.0.1:${port}`,
    stop: () => (child.kill('SIGTERM'), searched()),
    kill: async () => {
      child.kill('SIGKILL');
      await searched();
    },
    signal: (signal) => void child.kill(signal),
  };
}

/** Reads the banner until it is ready. */
function portOf(child, ended, log) {
  const told = [];
  let port;
  return new Promise((resolve, reject) => {
    const fail = (words) => reject(new Error(`${words}; it said:\n${[...told, ...log].join('\n')}`));
    const late = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`the server is not ready after ${START_MS} ms`);
    }, START_MS);
    ended.then((code) => {
      clearTimeout(late);
      fail(`the server ended with ${code}`);
    });
    createInterface({ input: child.stdout }).on('line', (line) => {
      told.push(line);
      port ??= /ws:\/\/localhost:(\d+)\/ws/.exec(line)?.[1];
      if (!port || !line.includes('ready in')) return;
      clearTimeout(late);
      resolve(port);
    });
  });
}

/** A headless Chromium that talks to nobody of its own accord. */
export async function startBrowser() {
  assert.ok(existsSync(CHROMIUM), `${CHROMIUM} is missing: apt-get install -y chromium (or EVERWIRE_CHROMIUM=<its path>)`);
  // Launched so it gets a profile folder of its own, which is gone when it ends.
  const browser = await chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  });
  return {
    stop: () => browser.close(),

    /**
     * A page of its own profile. `faults` collects what a visitor would find in the console, and every dialog.
     *
     * @param {string} url
     * @param {import('playwright-core').BrowserContextOptions} [options]
     */
    async open(url, options = {}) {
      const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options });
      const page = await context.newPage();
      const faults = [];
      page.on('console', (message) => ['error', 'warning'].includes(message.type()) && faults.push(message.text()));
      page.on('pageerror', (error) => faults.push(String(error)));
      page.on('dialog', (dialog) => {
        faults.push(`a dialog: ${dialog.message()}`);
        return dialog.dismiss();
      });
      await page.goto(url);
      return {
        page,
        faults,
        text: (selector) => page.locator(selector).innerText(),
        close: async () => {
          // A request that is being answered for a test when its page goes is nobody's fault.
          await page.unrouteAll({ behavior: 'ignoreErrors' });
          await context.close();
        },
      };
    },
  };
}

/** Makes `/stats` tell this beside what it tells. */
export async function tellStats(page, more) {
  await page.route('**/stats', async (route) => {
    const answer = await route.fetch();
    await route.fulfill({ response: answer, json: { ...await answer.json(), ...more } });
  });
}

/** Waits until an element's text is this. */
export async function shows(page, selector, wanted) {
  const fits = typeof wanted === 'string' ? ({ selector, wanted }) => document.querySelector(selector)?.textContent.trim() === wanted
    : ({ selector, source }) => new RegExp(source).test(document.querySelector(selector)?.textContent ?? '');
  try {
    await page.waitForFunction(fits, { selector, wanted, source: wanted.source });
  } catch (fault) {
    const found = await page.locator(selector).first().textContent({ timeout: 1000 }).catch(() => 'nothing');
    throw new Error(`${selector} should show ${wanted} and shows ${found}`, { cause: fault });
  }
}

/**
 * A person in a room of the chat.
 *
 * @param {Awaited<ReturnType<typeof startBrowser>>} browser
 * @param {Server} server
 * @param {string} room a room of its own for each test, so that they don't hear each other
 * @param {string} name
 */
export async function enterChat(browser, server, room, name, options) {
  const person = await browser.open(`${server.url}/demos/chat#${room}`, options);
  const { page } = person;
  await shows(page, '#room-name', room);
  await page.fill('#name', name);
  await page.press('#name', 'Enter');
  await shows(page, '#status', 'connected');
  await page.locator('#messages .quiet', { hasText: 'Nobody' }).or(page.locator('.entry-line')).first().waitFor();
  return {
    ...person,
    say: async (text) => {
      await page.fill('#text', text);
      await page.press('#text', 'Enter');
    },
    /** All that was said, in order. */
    said: () => page.locator('.entry-line p').allInnerTexts(),
    /** Waits until the server has this. */
    hears: (text) => page.locator('.entry-line:not(.sending) p', { hasText: text }).last().waitFor(),
  };
}
