'use strict';
// The server: where it listens, how it ends, what it counts.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const path = require('node:path');
const { test } = require('node:test');
const { setImmediate: soon } = require('node:timers/promises');
const gateway = require('..');
const { ask, Program, raw, serving, temporary, until } = require('./harness');

const root = path.join(__dirname, '..');

test('a thousand requests on a connection', async (t) => {
  const server = await serving(t, (req, res) => res.end(req.url));
  const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  for (let i = 0; i < 1000; i++) {
    assert.equal((await ask(server.address().port, { agent, path: `/${i}` })).body, `/${i}`);
  }
  const stats = server.stats();
  assert.equal(stats.requests, 1000);
  assert.equal(stats.accepted, 1);
  assert.equal(stats.status[2], 1000);
});

test('requests in flight at once, and pipelined', async (t) => {
  const server = await serving(t, (req, res) => { setTimeout(() => res.end(req.url), Math.random() * 20); });
  const paths = Array.from({ length: 300 }, (_, i) => `/${i}`);
  const answers = await Promise.all(paths.map((it) => ask(server.address().port, { path: it })));
  assert.deepEqual(answers.map((answer) => answer.body), paths);
  const client = await raw(server.address().port);
  client.send(paths.slice(0, 20).map((it) => `GET ${it} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  await client.until('\r\n\r\n/19');
  assert.deepEqual(client.text().match(/(?<=\r\n\r\n)\/\d+/g), paths.slice(0, 20));
  client.socket.destroy();
});

test('listen: a path, a number, an object, nothing; address()', async (t) => {
  const socket = path.join(temporary(t), 'socket');
  const ways = [
    [[socket], socket],
    [[`unix:${socket}2`], `${socket}2`],
    [[{ path: `${socket}3` }], `${socket}3`],
    [[0, '127.0.0.1'], '127.0.0.1'],
    [[{ port: 0, host: '127.0.0.1' }], '127.0.0.1'],
    [[`${socket}:4`], `${socket}:4`],
    [[{ path: `${socket}:5` }], `${socket}:5`],
    [[{ port: '0', host: undefined }], '0.0.0.0'],
    [[], '127.0.0.1', { bind: '127.0.0.1:0' }],
    [[undefined], '0.0.0.0'],
  ];
  for (const [args, where, options] of ways) {
    const server = gateway.createServer({ errorlog: '/dev/null', ...options }, (req, res) => {
      const { remoteAddress, remoteFamily, remotePort } = req.socket;
      res.end(JSON.stringify([remoteAddress, remoteFamily, typeof remotePort]));
    });
    assert.equal(server.address(), null);
    await new Promise((resolve) => { server.listen(...args, resolve); });
    const address = server.address();
    assert.equal(typeof address === 'string' ? address : address.address, where);
    const peer = typeof address === 'string' ? [null, null, 'undefined'] : ['127.0.0.1', 'IPv4', 'number'];
    assert.deepEqual(JSON.parse((await ask(typeof address === 'string' ? address : address.port)).body), peer);
    await new Promise((resolve) => { server.close(resolve); });
    assert.equal(server.listening, false);
  }
  for (const where of [{}, { host: '127.0.0.1' }, true]) {
    assert.throws(() => gateway.createServer().listen(where), { code: 'GW_ERR_INVALID' });
  }
});

test('listen: a descriptor or a socket of systemd, with its protocol, is not a path', async (t) => {
  const inherited = net.createServer().listen(0, '127.0.0.1');
  t.after(() => inherited.close());
  await once(inherited, 'listening');
  const { port } = inherited.address();
  const { fd } = inherited._handle;
  for (const protocol of ['', 'http+', 'uwsgi+', 'http://', 'HTTP+']) {
    const server = gateway.createServer({ errorlog: '/dev/null' }, () => {}).listen(`${protocol}fd://${fd}`);
    await once(server, 'listening');
    assert.deepEqual(server.address(), { address: '127.0.0.1', family: 'IPv4', port }, protocol);
    server.close();
    await once(server, 'close');
  }
  for (const where of ['systemd:web', 'fastcgi+systemd:web', 'fd://web', 'http+fd://web']) {
    const server = gateway.createServer({ errorlog: '/dev/null' }, () => {}).listen(where);
    const [error] = await once(server, 'error');
    assert.match(error.message, /systemd:web: no such socket/, where);
  }
});

test('listen: whatever `systemd` says, there is an address or an error', async () => {
  for (const systemd of [undefined, false, 'auto', 'off', '0']) {
    const server = gateway.createServer({ errorlog: '/dev/null', systemd }, () => {}).listen();
    await once(server, 'listening');
    assert.ok(server.address()?.port > 0, `${systemd}`);
    server.close();
    await once(server, 'close');
  }
  const [error] = await once(gateway.createServer({ systemd: true }, () => {}).listen(), 'error');
  assert.match(error.message, /systemd/);
});

test('unref(), before it listens and after, lets the process end', async (t) => {
  for (const text of ['server.unref().listen(0)', 'server.listen(0).unref()', 'server.unref().ref().unref().listen(0)']) {
    const it = new Program(t, process.execPath, ['-e', `
      const server = require(${JSON.stringify(root)}).createServer({ errorlog: '/dev/null' }, () => {});
      server.on('listening', () => console.log('listens'));
      setTimeout(() => console.log('stays') || process.exit(), 10_000).unref();
      ${text};`]);
    assert.equal(await it.ended, 0, text);
    assert.equal(it.said, 'listens\n');
  }
});

test('close() answers what is there, and nothing keeps the process', async (t) => {
  let answer;
  const server = await serving(t, (req, res) => { answer = () => res.end('whole'); });
  const { port } = server.address();
  const asked = ask(port);
  await until('the request', () => answer);
  const closed = once(server, 'close');
  server.close();
  await until('nobody listens', async () => {
    try { (await raw(port)).socket.destroy(); return false; } catch { return true; }
  });
  answer();
  assert.equal((await asked).body, 'whole');
  await closed;
  assert.throws(() => server.stats(), { code: 'GW_ERR_STATE' });
  const [error] = await new Promise((resolve) => { server.close((...args) => resolve(args)); });
  assert.equal(error.code, 'ERR_SERVER_NOT_RUNNING');
});

test('after close the server can listen again, where it did', async (t) => {
  for (const where of [[0, '127.0.0.1'], [path.join(temporary(t), 'socket')]]) {
    const server = gateway.createServer({ errorlog: '/dev/null' }, (req, res) => res.end('hello')).listen(...where);
    await once(server, 'listening');
    const address = server.address();
    const again = typeof address === 'string' ? [address] : [address.port, address.address];
    server.once('close', () => server.listen(...again));
    server.close();
    assert.equal(server.listening, false);
    await once(server, 'listening');
    for (let i = 0; i < 5; i++) await soon();
    assert.equal((await ask(again[0])).body, 'hello');
    await new Promise((resolve) => { server.close(resolve); });
  }
});

test('closeAllConnections() cuts, and the handlers hear of it', async (t) => {
  const seen = [];
  const server = await serving(t, (req, res) => { res.on('close', () => seen.push(res.writableFinished)); res.write('begun'); });
  const client = await raw(server.address().port);
  client.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await client.until('begun');
  const closed = once(server, 'close');
  server.closeAllConnections();
  await closed;
  await client.end();
  await until('close', () => seen.length === 1);
  assert.deepEqual(seen, [false]);
});

test('an address that is taken is an error event; an option that is none, too', async (t) => {
  const server = await serving(t, () => {});
  const other = gateway.createServer().listen(server.address().port, '127.0.0.1');
  const [error] = await once(other, 'error');
  assert.equal(error.code, 'GW_ERR_IO');
  assert.match(error.message, /in use/);
  for (const [options, code] of [[{ nosuch: 1 }, 'GW_ERR_UNKNOWN'], [{ workers: 'many' }, 'GW_ERR_INVALID']]) {
    const [wrong] = await once(gateway.createServer(options).listen(0), 'error');
    assert.equal(wrong.code, code, wrong.message);
  }
  assert.throws(() => server.listen(0), { code: 'GW_ERR_STATE' });
});

test('limits are the library\'s: what is refused never comes to the handler', async (t) => {
  const server = await serving(t, () => assert.fail('called'), { limit_request_fields: 3, limit_request_line: 100 });
  const { port } = server.address();
  const headers = Object.fromEntries(Array.from({ length: 9 }, (_, i) => [`X-${i}`, 'y']));
  assert.equal((await ask(port, { headers })).status, 431);
  assert.equal((await ask(port, { path: `/${'x'.repeat(200)}` })).status, 414);
  assert.equal(server.stats().limited, 2);
});

test('import has what require has', async () => {
  const names = Object.keys(await import('../lib/index.js'));
  for (const name of Object.keys(gateway)) assert.ok(names.includes(name), name);
});

test('options and version', () => {
  assert.match(gateway.version, /^\d+\.\d+\.\d+$/);
  assert.equal(gateway.options.workers.kind, 'int');
  assert.equal(gateway.isWorker, false);
});

test('a Node that is too old is named in one line by the build', async (t) => {
  const dir = temporary(t);
  const old = path.join(dir, 'old.js');
  fs.writeFileSync(old, "Object.defineProperty(process, 'versions', { value: { ...process.versions, node: '16.20.2' } });");
  const build = new Program(t, process.execPath, ['-r', old, path.join(root, 'build.js')]);
  assert.equal(await build.ended, 1);
  assert.equal(build.said, 'libgateway: Node 16.20.2 is too old: libgateway needs 18 or newer\n');
});

test('what is missing is named: the headers of Node by the build, the build by whoever requires it', async (t) => {
  const dir = temporary(t);
  const moved = path.join(dir, 'moved.js');
  fs.writeFileSync(moved, "Object.defineProperty(process, 'execPath', { value: '/nonexistent/bin/node' });");
  for (const name of ['build.js', 'lib', 'src']) fs.cpSync(path.join(root, name), path.join(dir, name), { recursive: true });
  const build = new Program(t, process.execPath, ['-r', moved, path.join(dir, 'build.js')]);
  assert.equal(await build.ended, 1);
  assert.match(build.said, /^libgateway: Node's headers are missing: npm install node-api-headers/);
  assert.throws(() => require(path.join(dir, 'lib')), { code: 'GW_ERR_UNSUPPORTED', message: /run node .*build\.js$/ });
});

test('a listener that throws: the process hears of it, and all others of their own requests', async (t) => {
  const it = new Program(t, process.execPath, [path.join(__dirname, 'apps/listeners.js')]);
  assert.equal(await it.ended, 0, it.said);
  assert.deepEqual(JSON.parse(it.said), { finish: 8, close: 8, begun: 8, data: 8, aborted: 8 });
});
