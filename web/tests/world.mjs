// The server as a process, and Chromium: what every browser test stands on.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const CHROMIUM = process.env.EVERWIRE_CHROMIUM ?? '/usr/bin/chromium';
const START_MS = 20_000;

/**
 * Starts the server that EVERWIRE_BIN names, on a port of its own choice.
 *
 * @returns {Promise<{ url: string, ws: string, stop: () => Promise<number | null> }>} `url` without a slash at its end
 */
export async function startServer() {
  const binary = process.env.EVERWIRE_BIN;
  assert.ok(binary, 'EVERWIRE_BIN must name the binary: cargo build -p everwire-server && export EVERWIRE_BIN=$PWD/target/debug/everwire\n'
    + '(the pages alone: EVERWIRE_BIN=../../sdk/js/tests/mock-server.mjs)');
  assert.ok(existsSync(binary), `EVERWIRE_BIN=${binary} does not exist`);
  const script = binary.endsWith('.mjs');
  const child = spawn(script ? process.execPath : binary, [...(script ? [binary] : ['dev']), '--listen', '127.0.0.1:0'], { stdio: ['ignore', 'pipe', 'pipe'] });
  const told = [];
  const ended = new Promise((done) => child.once('exit', done));
  const url = await new Promise((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`no address after ${START_MS} ms; it said:\n${told.join('\n')}`)), START_MS);
    ended.then((code) => reject(new Error(`the server ended with ${code}; it said:\n${told.join('\n')}`)));
    for (const stream of [child.stdout, child.stderr]) {
      createInterface({ input: stream }).on('line', (line) => {
        told.push(line);
        const found = /http:\/\/(?:localhost|127\.0\.0\.1):(\d+)\//.exec(line);
        if (!found || found[1] === '0') return;
        clearTimeout(late);
        resolve(`http://localhost:${found[1]}`);
      });
    }
  });
  const stop = () => {
    child.kill('SIGTERM');
    return ended;
  };
  return { url, ws: url.replace('http', 'ws'), stop };
}

/** A headless Chromium that talks to nobody of its own accord. */
export async function startBrowser() {
  assert.ok(existsSync(CHROMIUM), `${CHROMIUM} is missing: apt-get install -y chromium`);
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
      const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
      const page = await context.newPage();
      const faults = [];
      page.on('console', (message) => ['error', 'warning'].includes(message.type()) && faults.push(message.text()));
      page.on('pageerror', (error) => faults.push(String(error)));
      page.on('dialog', (dialog) => {
        faults.push(`a dialog: ${dialog.message()}`);
        return dialog.dismiss();
      });
      await page.goto(url);
      return { page, faults, text: (selector) => page.locator(selector).innerText(), close: () => context.close() };
    },
  };
}

/** Waits until a locator's text is this. */
export async function shows(page, selector, wanted) {
  const fits = typeof wanted === 'string' ? ({ selector, wanted }) => document.querySelector(selector)?.textContent.trim() === wanted
    : ({ selector, source }) => new RegExp(source).test(document.querySelector(selector)?.textContent ?? '');
  await page.waitForFunction(fits, { selector, wanted, source: wanted.source });
}
