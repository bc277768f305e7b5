// The size of the client as a page would ship it. Run alone it prints the figure.
import { build } from 'esbuild';
import { gzipSync } from 'node:zlib';
import { argv } from 'node:process';
import { fileURLToPath } from 'node:url';

/** @returns {Promise<number>} bytes of `esbuild --bundle --minify | gzip -9` */
export async function coreSize() {
  const { outputFiles } = await build({
    entryPoints: [fileURLToPath(new URL('../src/everwire.js', import.meta.url))],
    bundle: true,
    minify: true,
    format: 'esm',
    write: false,
  });
  return gzipSync(outputFiles[0].contents, { level: 9 }).length;
}

if (argv[1] === fileURLToPath(import.meta.url)) console.log(await coreSize());
