// What the echo page shows about itself. The echo is in echo.js, which is on show there and stays free of this.
import './echo.js';
import { offerCopies } from './copy.js';

offerCopies();

// The example stands in the page with the address of dev mode; this server may have another.
const short = document.getElementById('short');
short.textContent = short.textContent.replace('ws://localhost:8765', location.origin.replace('http', 'ws'));

const source = document.getElementById('source');
try {
  const answer = await fetch('/assets/echo.js');
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  source.textContent = await answer.text();
} catch (fault) {
  source.textContent = `The file could not be read: ${fault.message}`;
}
