// socket.io as its documentation recommends it for many connections: WebSocket alone, `bufferutil` beside `ws`, and the
// reference to the first HTTP request given up.
//
// node socketio.mjs PORT. An event `echo` comes back; `sub` joins a room, `pub` says something in one.

import { createServer } from 'node:http';
import { Server } from 'socket.io';

const http = createServer();
const io = new Server(http, { transports: ['websocket'], serveClient: false });
io.engine.on('connection', (raw) => {
  raw.request = null;
});

io.on('connection', (socket) => {
  socket.on('echo', (data) => socket.emit('echo', data));
  socket.on('sub', (room) => {
    socket.join(room);
    socket.emit('subbed');
  });
  socket.on('pub', (room, data) => io.to(room).emit('msg', data));
});

http.listen({ port: Number(process.argv[2]), host: '127.0.0.1', backlog: 4096 });

// Whoever started it holds its input open.
process.stdin.on('end', () => process.exit(0)).resume();
