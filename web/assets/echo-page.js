// What the echo page shows about itself. The echo is in echo.js, which is on show there and stays free of this.
import './echo.js';
import { offerCopies } from './copy.js';

const source = document.getElementById('source');
try {
  const answer = await fetch('/assets/echo.js');
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  source.textContent = await answer.text();
} catch (fault) {
  source.textContent = `The file could not be read: ${fault.message}`;
}

document.getElementById('short').textContent = `<script>
  const socket = new WebSocket('${location.origin.replace('http', 'ws')}');
  socket.onopen = () => socket.send('hello');
  socket.onmessage = (event) => alert(event.data);
</script>`;

offerCopies();
