import { test } from 'node:test';
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
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

test('the sources are clean under tsc --checkJs --strict', () => {
  const shown = execFileSync(process.execPath, [tsc, '-p', 'tsconfig.json', '--showConfig'], { cwd: root });
  const { compilerOptions, files } = JSON.parse(shown);
  assert.ok(compilerOptions.checkJs && compilerOptions.strict);
  assert.ok(files.includes('./src/everwire.js') && files.includes('./src/channel.js'), String(files));
  for (const file of files) assert.doesNotMatch(readFileSync(join(root, file), 'utf8'), /@ts-(ignore|nocheck|expect-error)/, file);
  execFileSync(process.execPath, [tsc, '-p', 'tsconfig.json'], { cwd: root });
});

test('a program in TypeScript can use the package as it is published, and is told what is wrong', () => {
  const folder = mkdtempSync(join(tmpdir(), 'everwire-types-'));
  try {
    execFileSync('npm', ['pack', '--silent', '--pack-destination', folder], { cwd: root, stdio: ['ignore', 'ignore', 'pipe'] });
    const home = join(folder, 'node_modules/@everwire/client');
    mkdirSync(home, { recursive: true });
    const [archive] = readdirSync(folder).filter((name) => name.endsWith('.tgz'));
    execFileSync('tar', ['-xzf', join(folder, archive), '-C', home, '--strip-components=1']);
    const types = readFileSync(join(home, 'types/everwire.d.ts'), 'utf8');
    assert.match(types, /export function connect\(url: string \| URL, options\?: /);
    writeFileSync(join(folder, 'package.json'), '{"type":"module"}');
    const check = (names, how) => spawnSync(process.execPath, [
      tsc, '--strict', '--noEmit', '--target', 'ES2022', '--lib', 'ES2022,DOM', ...how, ...names,
    ], { cwd: folder, encoding: 'utf8' }).stdout.trim().split('\n').filter(Boolean);
    const program = (type) => `import { connect, EverwireError } from '@everwire/client';
      const client = connect('/ws', { token: async () => 't', WebSocket });
      const room = client.channel('a', { presence: true, recover: true });
      const off: () => void = room.on('message', (m) => { const at: ${type} = m.time; void at; });
      room.on('gap', (gap) => { const reason: string = gap.reason; void reason; });
      room.publish({ hi: 1 }).then(({ position, duplicate }) => { const at: number | undefined = position?.offset; void [at, duplicate]; })
        .catch((error) => { if (error instanceof EverwireError) { const code: string = error.code; void code; } });
      off();`;
    writeFileSync(join(folder, 'good.ts'), program('number'));
    writeFileSync(join(folder, 'bad.ts'), program('string'));
    assert.deepEqual(check(['good.ts'], ['--module', 'nodenext', '--moduleResolution', 'nodenext']), []);
    const errors = check(['good.ts', 'bad.ts'], ['--module', 'ES2022', '--moduleResolution', 'bundler']);
    assert.equal(errors.length, 1, errors.join('\n'));
    assert.match(errors[0], /^bad\.ts.*'number' is not assignable to type 'string'/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the package has no dependency', () => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  assert.equal(dependencies, undefined);
});
