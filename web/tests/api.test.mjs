// The HTTP API against its own document, by a program that makes requests of it: Schemathesis. What it sends is good and
// bad; what it holds every answer to is in CHECKS.
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { schemathesis, startServer } from './world.mjs';

const KEY = '0123456789abcdef0123456789abcdef';
const SECRET = 'a-secret-of-the-tests-of-32-bytes';
/** No status and no body that the document does not have, no fault of the server, no verb without a key, no other method. */
const CHECKS = [
  'not_a_server_error', 'status_code_conformance', 'content_type_conformance', 'response_schema_conformance',
  'response_headers_conformance', 'ignored_auth', 'unsupported_method', 'allow_header_conformance',
];
const PATIENCE_MS = 90_000;

const OPEN = 'presence = true\nhistory = {}\naccess = { subscribe = "anyone", publish = "anyone", history = "anyone", presence = "anyone" }';
const CONFIG = `api_keys = ["${KEY}"]
[history]
store = "memory"
[tokens]
[[tokens.keys]]
algorithm = "HS256"
secret = "${SECRET}"
[namespaces.default]
${OPEN}
[namespaces.bare]
`;

test('the API does what its document says, whatever it is sent', { timeout: PATIENCE_MS + 30_000 }, async (t) => {
  const server = await startServer({ config: CONFIG });
  // It keeps what it found beside itself.
  const folder = mkdtempSync(join(tmpdir(), 'everwire-schemathesis-'));
  try {
    const words = [
      '-m', 'schemathesis.cli', '--no-color', 'run', `${server.url}/api/openapi.json`, '--header', `Authorization: Bearer ${KEY}`,
      '--checks', CHECKS.join(','), '--phases', 'examples,coverage,fuzzing', '--max-examples', '50', '--seed', '1',
      '--request-timeout', '10',
    ];
    const run = spawn(schemathesis(), words, { cwd: folder, timeout: PATIENCE_MS });
    let said = '';
    for (const stream of [run.stdout, run.stderr]) stream.on('data', (text) => { said += text; });
    const [code] = await once(run, 'close');
    t.diagnostic(said.trim().split('\n').slice(-12).join('\n'));
    assert.equal(code, 0, said);
  } finally {
    rmSync(folder, { recursive: true });
    await server.stop();
  }
});
