// The search for secrets in logs can fail.
import assert from 'node:assert/strict';
import test from 'node:test';
import { lineWithSecret } from './secrets.mjs';

test('secrets are seen in a log, and the rest is not', () => {
  const config = 'api_keys = ["a-key-of-this-config"]\n[[tokens.keys]]\nsecret = "a-secret-of-this-config"\nsecret_file = "a-file-with-a-long-name"\n';
  const token = ['eyJhbGciOiJIUzI1NiJ9', 'eyJzdWIiOiJhbm4ifQ', 'c2lnbmF0dXJlLTEyMw'].join('.');
  const secrets = [
    'a-key-of-this-config', 'a-secret-of-this-config', token, `bearer.${Buffer.from(token).toString('base64url')}`,
    `dev-${'0af1'.repeat(8)}`, '-----BEGIN PRIVATE KEY-----',
  ];
  for (const secret of secrets) {
    assert.equal(lineWithSecret(['INFO first', `WARN x=${secret} y`], config), 2, secret.slice(0, 4));
  }
  assert.equal(lineWithSecret(['a-file-with-a-long-name', 'dev-server'], config), undefined);
});
