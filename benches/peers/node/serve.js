'use strict';
// serve.js http|libgateway plain|express PORT|BIND: what benches/node.py measures.

const [kind, app, where] = process.argv.slice(2);
const root = '../../../bindings/node';
const HELLO = 'hello, world\n';
const BIG = Buffer.alloc(102_400, 'x');

function plain(req, res) {
  if (req.url === '/big') {
    res.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': BIG.length });
    res.end(BIG);
  } else if (req.method === 'POST') {
    req.on('data', () => {}).on('end', () => {
      res.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': HELLO.length });
      res.end(HELLO);
    });
  } else {
    res.writeHead(200, { 'Content-Type': 'text/plain', 'Content-Length': HELLO.length });
    res.end(HELLO);
  }
}

function express() {
  const make = require(`${root}/node_modules/express`)();
  make.get('/', (req, res) => res.type('text').send(HELLO));
  return make;
}

const handler = app === 'express' ? express() : plain;
if (kind === 'http') {
  const server = require('node:http').createServer({ keepAliveTimeout: 300_000 }, handler);
  server.listen(/^\d+$/.test(where) ? { port: Number(where), host: '127.0.0.1' } : { path: where });
} else {
  const bind = /^\d+$/.test(where) ? `127.0.0.1:${where}` : where;
  require(root).createServer({ bind, keepalive: '300s', worker_connections: 20_000 }, handler).listen();
}
process.on('SIGTERM', () => process.exit());
process.on('SIGINT', () => process.exit());
