// The `ws` package as its documentation recommends it: compression off (its default), `bufferutil` beside it.
//
// node ws.mjs PORT. An echo at /echo; what one says at /fanout goes to all the others there.

import { createServer } from 'node:http';
import { WebSocketServer } from 'ws';

const echo = new WebSocketServer({ noServer: true });
const fanout = new WebSocketServer({ noServer: true });

echo.on('connection', (socket) => {
  socket.on('message', (data, binary) => socket.send(data, { binary }));
});

fanout.on('connection', (socket) => {
  socket.on('message', (data, binary) => {
    for (const other of fanout.clients) {
      if (other !== socket && other.readyState === other.OPEN) other.send(data, { binary });
    }
  });
});

const http = createServer();
http.on('upgrade', (request, socket, head) => {
  const server = request.url === '/fanout' ? fanout : echo;
  server.handleUpgrade(request, socket, head, (opened) => server.emit('connection', opened, request));
});
// The queue of the listener: thousands connect at once.
http.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });

// Whoever started it holds its input open.
process.stdin.on('end', () => process.exit(0)).resume();
