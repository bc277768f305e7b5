import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { coreSize } from './measure_size.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const tsc = join(root, 'node_modules/typescript/bin/tsc');

test('the core is at most 7 KB: bundled, minified, gzip -9', async () => {
  const bytes = await coreSize();
  console.log(`core: ${bytes} bytes`);
  assert.ok(bytes <= 7 * 1024, `${bytes} bytes`);
});

test('the sources are clean under tsc --checkJs --strict, and the check can fail', () => {
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: root });
  const options = JSON.parse(readFileSync(join(root, 'tsconfig.json'), 'utf8')).compilerOptions;
  assert.ok(options.checkJs && options.strict);
});

test('the package gets its .d.ts, and a program in TypeScript can use them', () => {
  const folder = mkdtempSync(join(tmpdir(), 'everwire-types-'));
  try {
    execFileSync(process.execPath, [tsc, '-p', 'tsconfig.types.json', '--outDir', folder], { cwd: root });
    const types = readFileSync(join(folder, 'everwire.d.ts'), 'utf8');
    assert.match(types, /export function connect\(url: string \| URL, options\?: /);
    const tsc_on = (name) => execFileSync(process.execPath, [
      tsc, '--strict', '--noEmit', '--target', 'ES2022', '--module', 'ES2022', '--moduleResolution', 'bundler',
      '--lib', 'ES2022,DOM', join(folder, name),
    ], { cwd: folder, stdio: 'pipe' });
    const program = (body) => `import { connect } from './everwire.js';
      const room = connect('/ws', { token: async () => 't' }).channel('a', { presence: true });
      ${body}`;
    writeFileSync(join(folder, 'good.ts'), program("room.on('message', (m) => { const at: number = m.time; void at; });"));
    writeFileSync(join(folder, 'bad.ts'), program("room.on('message', (m) => { const at: string = m.time; void at; });"));
    tsc_on('good.ts');
    assert.throws(() => tsc_on('bad.ts'));
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the package has no dependency', () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.equal(dependencies, undefined);
});
