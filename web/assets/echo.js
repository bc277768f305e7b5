// The address of the echo: the server that this page came from.
const address = location.origin.replace('http', 'ws') + '/echo';
const KEEP = 200; // lines of the log

const status = document.getElementById('status');
const form = document.getElementById('form');
const text = document.getElementById('text');
const send = document.getElementById('send');
const log = document.getElementById('log');
const older = document.getElementById('older');
const toggle = document.getElementById('toggle');

let socket;
let dropped = 0;

function connect() {
  let opened = false;
  show('connecting', 'connecting to ' + address);
  socket = new WebSocket(address);

  socket.onopen = () => {
    opened = true;
    show('connected', 'connected');
  };

  socket.onmessage = (event) => {
    write('received', event.data);
  };

  // After an error the browser always closes as well. 1000 means: as it should be.
  socket.onclose = (event) => {
    if (event.code === 1000) {
      show('disconnected', 'disconnected');
    } else if (opened) {
      show('error', 'error: the connection was lost (code ' + event.code + ')');
      write('problem', 'The connection was lost: the server was stopped, or '
        + 'the network is gone. Start the server again if it is yours, '
        + 'then press Connect.');
    } else {
      show('error', 'error: no connection (code ' + event.code + ')');
      write('problem', 'No connection could be made: nobody answers at '
        + address + '. Does the server run? Start it, then press Connect.');
    }
  };
}

form.onsubmit = (event) => {
  event.preventDefault(); // stay on this page
  if (socket.readyState !== WebSocket.OPEN) return; // it was lost just now
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
function write(kind, message) {
  const time = document.createElement('time');
  const arrow = document.createElement('b');
  const words = document.createElement('span');
  time.textContent = new Date().toLocaleTimeString('en-GB');
  arrow.textContent = kind;
  words.textContent = message;

  const line = document.createElement('li');
  line.className = kind;
  line.append(time, ' ', arrow, ' ', words);
  log.append(line);
  requestAnimationFrame(() => {
    log.parentElement.scrollTop = log.scrollHeight;
  });

  // A page with a line for everything would become slow.
  if (log.children.length <= KEEP) return;
  log.firstChild.remove();
  dropped += 1;
  older.textContent = 'Lines that are not shown any more: ' + dropped;
}

connect();
