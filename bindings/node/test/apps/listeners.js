'use strict';
// Listeners that throw, each at the same time as others: what the process hears of, and what the others miss.

const { once } = require('node:events');
const net = require('node:net');
const gateway = require('../..');
const { until } = require('../harness');

const COUNT = 8;
const seen = {};
const saw = (what) => { seen[what] = (seen[what] ?? 0) + 1; };
const all = (what) => until(what, () => seen[what] === COUNT);
process.on('uncaughtException', (error) => {
  saw(error.message);
  if (/^\w+$/.test(error.message)) return;
  console.log(error.message, seen); // all() has waited for too long
  process.exit(1);
});

const fails = (what) => () => { throw new Error(what); };
const server = gateway.createServer({ errorlog: '/dev/null' }, (req, res) => {
  if (req.url === '/finish') {
    res.on('finish', fails('finish')).on('close', () => saw('close'));
    return void res.end('x');
  }
  req.on('data', fails('data')).on('aborted', fails('aborted'));
  saw('begun');
});

server.listen(0, '127.0.0.1');
server.on('listening', async () => {
  const { port } = server.address();
  const clients = Array.from({ length: COUNT }, () => net.connect(port, '127.0.0.1'));
  await Promise.all(clients.map((client) => once(client, 'connect')));
  const send = (text) => clients.forEach((client) => client.write(text)); // before the server has its turn
  send('GET /finish HTTP/1.1\r\nHost: x\r\n\r\n');
  await all('close');
  send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n');
  await all('begun');
  send('12345');
  await all('data');
  clients.forEach((client) => client.destroy());
  await all('aborted');
  console.log(JSON.stringify(seen));
  process.exit();
});
