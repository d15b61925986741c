'use strict';
// A little of everything, as examples/demo.c has it; tests/demo.py compares what the two answer.
//
//     node demo.js 127.0.0.1:8000 demo.js
//
//     curl -i http://127.0.0.1:8000/            (environ, echo, count, later, headers, file, fail)

const fs = require('node:fs');
const { Readable, pipeline } = require('node:stream');
const { setImmediate } = require('node:timers/promises');
const gateway = require('.');

const [bind, path] = process.argv.slice(2);
const NAMES = [
  'REQUEST_METHOD', 'SCRIPT_NAME', 'PATH_INFO', 'QUERY_STRING', 'CONTENT_TYPE', 'CONTENT_LENGTH', 'SERVER_PROTOCOL',
  'REMOTE_ADDR', 'HTTP_HOST', 'HTTP_X_DEMO',
];

function plain(res, text, status = 200) {
  res.writeHead(status, { 'Content-Type': 'text/plain' }).end(text, 'latin1');
}

// What is written before others have their turn has a Content-Length: it is one answer.
async function* countdown() {
  for (let n = 10; n > 0; n--) {
    yield `${n}\n`;
    await setImmediate();
  }
}

const pages = {
  '/': (req, res) => plain(res, 'hello, world\n'),
  '/environ': (req, res, environ) => plain(res, NAMES.map((name) => `${name}=${environ[name] ?? ''}\n`).join('')),
  '/count': (req, res) => {
    Readable.from(countdown()).pipe(res.writeHead(200, { 'Content-Type': 'text/plain' }));
  },
  '/later': (req, res) => { setTimeout(plain, 10, res, 'at last\n'); },
  '/headers': (req, res) => {
    res.writeHead(204, { 'Set-Cookie': ['a=1; Path=/', 'b=2; Path=/'], 'X-Demo': 'yes' }).end();
  },
  '/fail': () => { throw new Error('as it was asked to'); },
  async '/echo'(req, res) {
    const pieces = [];
    for await (const piece of req) pieces.push(piece);
    res.setHeader('Content-Type', req.headers['content-type'] ?? 'application/octet-stream');
    res.end(Buffer.concat(pieces));
  },
  '/file': (req, res) => {
    res.writeHead(200, { 'Content-Length': fs.statSync(path).size, 'Content-Type': 'application/octet-stream' });
    pipeline(fs.createReadStream(path), res, () => {});
  },
};

gateway.serve((req, res) => {
  const environ = gateway.environ(req);
  const page = Object.hasOwn(pages, environ.PATH_INFO) ? pages[environ.PATH_INFO] : undefined;
  return page ? page(req, res, environ) : plain(res, 'not found\n', 404);
}, { bind, workers: 2 });
