// An echo server for Node: every byte goes back.
const server = require('net').createServer((socket) => {
  socket.on('data', (data) => socket.write(data));
  socket.on('error', () => {});
});
server.listen(8080);
