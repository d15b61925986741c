'use strict';
// Behind a real nginx: HTTP, uwsgi and FastCGI, Express and plain.

const assert = require('node:assert/strict');
const path = require('node:path');
const { test } = require('node:test');
const { ask, nginx, serving, temporary, until } = require('./harness');

async function behind(t, handler) {
  const dir = temporary(t);
  const protocols = { http: '', uwsgi: 'uwsgi+', fastcgi: 'fastcgi+' };
  const sockets = {};
  const bind = Object.entries(protocols).map(([name, prefix]) => {
    sockets[name] = `unix:${path.join(dir, name)}`;
    return prefix + sockets[name];
  });
  const server = await serving(t, handler, { bind });
  const fronts = await nginx(t, sockets);
  return { server, fronts: Object.entries(fronts) };
}

test('Express behind nginx by HTTP, uwsgi and FastCGI', async (t) => {
  const app = require('express')();
  app.set('trust proxy', true);
  app.use(require('express').json());
  app.get('/who/:what', (req, res) => res.json([req.params, req.query, req.originalUrl, req.get('X-A'), req.get('Host'), req.httpVersion]));
  app.post('/json', (req, res) => res.status(201).json([req.get('Content-Type'), req.get('Content-Length'), req.body]));
  app.get('/cookie', (req, res) => res.cookie('a', req.get('Cookie')).cookie('b', 'c').end());
  const { fronts } = await behind(t, app);
  assert.equal(fronts.length, 3);
  for (const [name, front] of fronts) {
    const headers = { Host: 'test.example', 'X-A': 'b', Cookie: 'x=y', 'Content-Type': 'application/json' };
    const who = await ask(front, { path: '/who/a%20b?c=d', headers });
    assert.deepEqual(JSON.parse(who.body), [{ what: 'a b' }, { c: 'd' }, '/who/a%20b?c=d', 'b', 'test.example', '1.1'], name);
    const json = await ask(front, { method: 'POST', path: '/json', headers }, '{"k":"ö"}');
    assert.deepEqual([json.status, JSON.parse(json.body)], [201, ['application/json', '10', { k: 'ö' }]], name);
    const cookie = await ask(front, { path: '/cookie', headers });
    assert.deepEqual(cookie.headers['set-cookie'], ['a=x%3Dy; Path=/', 'b=c; Path=/'], name);
    assert.equal((await ask(front, { path: '/nowhere' })).status, 404);
  }
});

test('big bodies both ways, failures, and many requests', async (t) => {
  const { server, fronts } = await behind(t, (req, res) => {
    if (req.url === '/fail') throw new Error('as asked');
    if (req.method === 'GET') return void res.end('hello');
    // nginx sends no more of a request whose answer has begun.
    const pieces = [];
    req.on('data', (piece) => pieces.push(piece)).on('end', () => res.end(Buffer.concat(pieces)));
  });
  const octets = Buffer.alloc(2_000_000, 'abcdefg');
  for (const [name, front] of fronts) {
    assert.ok((await ask(front, { method: 'POST', path: '/' }, octets)).octets.equals(octets), name);
    assert.equal((await ask(front, { path: '/fail' })).status, 500, name);
    const answers = await Promise.all(Array.from({ length: 100 }, () => ask(front)));
    assert.ok(answers.every((answer) => answer.status === 200 && answer.body === 'hello'), name);
  }
  await until('nothing is in flight', () => server.stats().in_flight === 0);
  assert.equal(server.stats().status[2], 303);
});
