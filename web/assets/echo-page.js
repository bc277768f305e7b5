// What the echo page shows about itself. The echo is in echo.js, which is on show there and stays free of this.
import { offerCopies } from './copy.js';

const at = (id) => document.getElementById(id);
offerCopies();

/** Whether this server says that it has no echo. */
async function withoutEcho() {
  try {
    const answer = await fetch('/stats', { signal: AbortSignal.timeout(5_000) });
    return (await answer.json()).echo === false;
  } catch {
    return false; // Not told. The echo itself will say how things stand.
  }
}

if (await withoutEcho()) {
  at('status').dataset.state = 'off';
  at('status').textContent = 'switched off on this server';
  at('no-echo').hidden = false;
  at('try-it').hidden = true;
} else await import('./echo.js');

// The example stands in the page with the address of dev mode; this server may have another.
const short = at('short');
short.textContent = short.textContent.replace('ws://localhost:8765', location.origin.replace('http', 'ws'));

const source = at('source');
try {
  const answer = await fetch('/assets/echo.js');
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  source.textContent = await answer.text();
} catch (fault) {
  source.textContent = `The file could not be read: ${fault.message}`;
}
