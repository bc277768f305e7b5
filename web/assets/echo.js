// The address of the echo: the server that this page came from.
const address = location.origin.replace('http', 'ws') + '/echo';

const status = document.getElementById('status');
const form = document.getElementById('form');
const text = document.getElementById('text');
const send = document.getElementById('send');
const log = document.getElementById('log');
const toggle = document.getElementById('toggle');

let socket;

function connect() {
  show('connecting', 'connecting to ' + address);
  socket = new WebSocket(address);

  socket.onopen = () => {
    show('connected', 'connected');
  };

  socket.onmessage = (event) => {
    write('received', event.data);
  };

  // After an error the browser always closes as well. 1000 means: as it should be.
  socket.onclose = (event) => {
    if (event.code === 1000) show('disconnected', 'disconnected');
    else show('error', 'error: the connection was lost (code ' + event.code + ')');
  };
}

form.onsubmit = (event) => {
  event.preventDefault(); // stay on this page
  socket.send(text.value);
  write('sent', text.value);
  text.value = '';
  text.focus();
};

toggle.onclick = () => {
  if (socket.readyState === WebSocket.OPEN) socket.close(1000);
  else connect();
};

// Tells in words how things stand.
function show(state, words) {
  status.dataset.state = state;
  status.textContent = words;
  send.disabled = state !== 'connected';
  toggle.disabled = state === 'connecting';
  toggle.textContent = state === 'connected' ? 'Disconnect' : 'Connect';
}

// Adds a line to the log. With textContent, never innerHTML: what comes from
// others is text.
function write(direction, message) {
  const time = document.createElement('time');
  const arrow = document.createElement('b');
  const words = document.createElement('span');
  time.textContent = new Date().toLocaleTimeString('en-GB');
  arrow.textContent = direction;
  words.textContent = message;

  const line = document.createElement('li');
  line.className = direction;
  line.append(time, ' ', arrow, ' ', words);
  log.append(line);
  line.scrollIntoView({ block: 'nearest' });
}

connect();
