'use strict';
// Unmodified frameworks, over the same requests as on node:http.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const path = require('node:path');
const { test } = require('node:test');
const gateway = require('..');
const { ask, serving } = require('./harness');

const FILE = __filename;

function asAsked() {
  const error = new Error('as asked');
  error.stack = String(error); // some show it, and it tells who has called
  return error;
}

function express(name) {
  const make = require(name);
  const app = make();
  app.set('trust proxy', 'loopback');
  app.use(require('compression')({ threshold: 1000 }));
  app.use(make.json());
  app.use(make.urlencoded({ extended: false }));
  app.use('/static', make.static(path.dirname(FILE)));
  app.get('/', (req, res) => res.send('hello'));
  app.get('/params/:id', (req, res) => res.json([req.params.id, req.query, req.ip, req.protocol, req.hostname, req.get('X-A')]));
  app.post('/json', (req, res) => res.status(201).json(req.body));
  app.get('/cookie', (req, res) => res.cookie('a', 'b').cookie('c', 'd', { httpOnly: true }).redirect('/'));
  app.get('/file', (req, res) => res.sendFile(FILE));
  app.get('/download', (req, res) => res.download(FILE, 'name.js'));
  app.get('/big', (req, res) => res.type('text').send('x'.repeat(100_000)));
  app.get('/stream', (req, res) => { res.write('a'); setImmediate(() => res.end('b')); });
  app.get('/fail', () => { throw asAsked(); });
  app.get('/next', (req, res, next) => next(Object.assign(asAsked(), { status: 418 })));
  app.use((error, req, res, next) => {
    if (req.path === '/next') return next(error);
    res.status(500).json({ error: error.message });
  });
  return app;
}

function koa() {
  const Koa = require('koa');
  const app = new Koa();
  app.silent = true;
  app.use(async (ctx) => {
    if (ctx.path === '/json') {
      const pieces = [];
      for await (const piece of ctx.req) pieces.push(piece);
      ctx.status = 201;
      ctx.body = JSON.parse(Buffer.concat(pieces).toString() || 'null');
    } else if (ctx.path === '/file') {
      ctx.body = require('node:fs').createReadStream(FILE);
    } else if (ctx.path === '/fail') {
      ctx.throw(500, 'as asked');
    } else {
      ctx.body = [ctx.ip, ctx.query, ctx.protocol];
    }
  });
  return app.callback();
}

function connect() {
  const app = require('connect')();
  app.use('/json', (req, res) => req.pipe(res));
  app.use('/fail', () => { throw asAsked(); });
  app.use((req, res) => res.end(`${req.url} ${req.originalUrl}`));
  return app;
}

const asked = [
  ['GET', '/'], ['HEAD', '/'], ['GET', '/params/a%20b?c=d&c=e', { 'X-A': 'b', 'X-Forwarded-For': '192.0.2.7' }],
  ['POST', '/json', { 'Content-Type': 'application/json' }, '{"a":[1,"ö"]}'], ['POST', '/json', { 'Content-Type': 'application/json' }, '{bad'],
  ['POST', '/json', { 'Content-Type': 'application/x-www-form-urlencoded' }, 'a=b&c=d'],
  ['POST', '/json', { 'Content-Type': 'application/json' }, JSON.stringify(['x'.repeat(150_000)])], // over the limit of Express
  ['GET', '/cookie'], ['GET', '/file'], ['HEAD', '/file'], ['GET', '/file', { Range: 'bytes=2-9' }], ['GET', '/download'],
  ['GET', '/big', { 'Accept-Encoding': 'gzip' }], ['GET', '/big'], ['GET', '/stream'], ['GET', '/fail'], ['GET', '/next'],
  ['GET', `/static/${path.basename(FILE)}`], ['GET', '/nowhere'], ['PUT', '/'], ['OPTIONS', '/'],
];

async function compared(t, handler) {
  process.env.NODE_ENV = 'test';
  const ours = await serving(t, handler);
  const theirs = http.createServer(handler).listen(0, '127.0.0.1');
  await once(theirs, 'listening');
  t.after(() => theirs.close());
  for (const [method, where, headers, body] of asked) {
    const [mine, its] = await Promise.all([ours, theirs].map((server) =>
      ask(server.address().port, { method, path: where, headers: { ...headers, Host: 'test.example' } }, body)));
    for (const answer of [mine, its]) {
      for (const framing of ['date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length']) delete answer.headers[framing];
      delete answer.raw;
    }
    assert.deepEqual(mine, its, `${method} ${where}`);
  }
}

for (const name of ['express', 'express4']) {
  test(`${name} ${require(`${name}/package.json`).version}`, (t) => compared(t, express(name)));
}

test('Koa', (t) => compared(t, koa()));

test('Connect', (t) => compared(t, connect()));

test('Fastify, by its serverFactory', async (t) => {
  const fastify = require('fastify')({
    serverFactory: (handler) => gateway.createServer({ errorlog: '/dev/null' }, handler),
  });
  fastify.get('/', async () => ({ hello: 'world' }));
  fastify.post('/json', async (request, reply) => reply.code(201).send(request.body));
  fastify.get('/fail', async () => { throw new Error('as asked'); });
  await fastify.ready();
  const { server } = fastify;
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  assert.equal((await ask(port)).body, '{"hello":"world"}');
  const headers = { 'Content-Type': 'application/json' };
  assert.equal((await ask(port, { method: 'POST', path: '/json', headers }, '{"a":1}')).body, '{"a":1}');
  assert.equal((await ask(port, { path: '/fail' })).status, 500);
  const closed = once(server, 'close');
  server.close();
  await closed;
});
