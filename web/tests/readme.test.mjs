// The snippets of the client's README, as they stand there, on the package as it is published, with a real server.
// A line of a snippet that ends with `// prints: words` promises that line.
import { after, before, test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { flagsForWebSocket, here, startBrowser, startServer } from './world.mjs';

const PATIENCE_MS = 30_000;
const SDK = join(here, '../../sdk/js');
const readme = readFileSync(join(SDK, 'README.md'), 'utf8');
const snippets = [...readme.matchAll(/^```(\w+)\n(.*?)^```$/gms)].map(([, language, text]) => ({ language, text }));
const promised = (text) => [...text.matchAll(/\/\/ prints: (.*)$/gm)].map(([, words]) => words);
let server;
let folder;
before(async () => {
  server = await startServer();
  folder = mkdtempSync(join(tmpdir(), 'everwire-readme-'));
  execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: SDK, stdio: ['ignore', 'ignore', 'pipe'] });
  const [archive] = readdirSync(folder);
  const home = join(folder, 'node_modules/@everwire/client');
  mkdirSync(home, { recursive: true });
  execFileSync('tar', ['-xzf', join(folder, archive), '-C', home, '--strip-components=1']);
  symlinkSync(join(here, 'node_modules/ws'), join(folder, 'node_modules/ws'));
});
after(async () => {
  if (folder) rmSync(folder, { recursive: true });
  assert.equal(await server?.stop(), 0, 'the server ends cleanly on SIGTERM');
});

test('there are snippets of both kinds, and each promises something', () => {
  assert.deepEqual([...new Set(snippets.map((one) => one.language))], ['html', 'js']);
  for (const { text } of snippets) assert.ok(promised(text).length > 0, text);
});

/** Runs a program until it ends, or has printed so many lines; what it printed. */
async function lines(file, flags, count) {
  const child = spawn(process.execPath, ['--no-warnings', ...flags, file], { cwd: folder, stdio: ['ignore', 'pipe', 'pipe'], timeout: PATIENCE_MS });
  const ended = new Promise((done) => child.once('close', (code, signal) => done(code ?? signal)));
  const printed = [];
  const complaints = [];
  child.stderr.on('data', (chunk) => complaints.push(String(chunk)));
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (printed.push(line) === count) child.kill('SIGINT');
  });
  const end = await ended;
  assert.ok([0, 'SIGINT'].includes(end), `it ended with ${end}, printed ${printed.join(' | ')} and said ${complaints.join('')}`);
  return printed;
}

snippets.filter((one) => one.language === 'js').forEach(({ text }, i) => {
  test(`program ${i + 1} of the README prints what it promises`, async () => {
    assert.ok(text.includes('ws://localhost:8765/ws'), text);
    const file = join(folder, `program-${i + 1}.mjs`);
    writeFileSync(file, text.replaceAll('ws://localhost:8765', server.ws));
    const flags = text.includes("from 'ws'") ? [] : flagsForWebSocket();
    // One that closes its client ends by itself, and must end well; the others listen until they are stopped.
    const count = text.includes('.close()') ? Infinity : promised(text).length;
    assert.deepEqual(await lines(file, flags, count), promised(text));
  });
});

test('the page of the README prints what it promises', async () => {
  const { text } = snippets.find((one) => one.language === 'html');
  const browser = await startBrowser();
  try {
    // A page of the server's own origin, whose content is then the snippet; the rules of our pages would forbid it.
    const { page, faults } = await browser.open(`${server.url}/docs/errors`, { bypassCSP: true });
    const printed = [];
    const all = page.waitForEvent('console', (message) => printed.push(message.text()) === promised(text).length);
    await page.setContent(text);
    await all;
    assert.deepEqual([printed, faults], [promised(text), []]);
  } finally {
    await browser.stop();
  }
});
