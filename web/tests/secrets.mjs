// What no log may hold, whatever a test did. The log of every server is searched when it ends: see world.mjs.

// A token; one in base64url once more, as browsers send it; a key of dev mode; a key in PEM.
const SHAPES = [/eyJ(hbGci|0eXAi)/, /ZXlK(aGJHY2|MGVYQW)/, /dev-[0-9a-f]{32}/, /-----BEGIN PRIVATE KEY-----/];

/** Keys and secrets that a config holds, and not the names of files that do. */
function toldIn(config) {
  const lines = config.split('\n').filter((line) => /^\s*(secret|api_keys|key)\s*=/.test(line));
  return lines.flatMap((line) => [...line.matchAll(/"([^"]{16,})"/g)].map((match) => match[1]));
}

/**
 * The number of the first line with a secret, from 1; undefined: there is none.
 *
 * @param {string[]} log its lines
 * @param {string} [config] what the server was told
 */
export function lineWithSecret(log, config = '') {
  const told = toldIn(config);
  const at = log.findIndex((line) => SHAPES.some((shape) => shape.test(line)) || told.some((secret) => line.includes(secret)));
  return at < 0 ? undefined : at + 1;
}
