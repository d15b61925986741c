'use strict';
// The arbiter and its workers: this program (apps/plain.js), started again.

const assert = require('node:assert/strict');
const http = require('node:http');
const fs = require('node:fs');
const path = require('node:path');
const { test } = require('node:test');
const gateway = require('..');
const { ask, freePort, Program, program, raw, temporary, until } = require('./harness');

const page = (it, path) => ask(it.port, { path }).then((answer) => answer.body);

test('two workers, hooks in both processes, a graceful end', async (t) => {
  const it = await program(t, 'plain.js', { workers: 2 });
  await it.until('when_ready');
  await until('both have been initialised', () => it.count('worker_init') === 2);
  const pids = new Set();
  await until('both answer', async () => pids.add(await page(it, '/pid')).size === 2);
  assert.ok(!pids.has(String(it.pid)));
  for (const pid of pids) assert.match(it.said, new RegExp(`worker_init {"pid":${pid},"slot":[01],"generation":0}`));
  assert.match(it.said, new RegExp(`when_ready {"address":"127.0.0.1","family":"IPv4","port":${it.port}} 2`));

  const slow = page(it, '/slow');
  await it.until('slow began');
  it.kill('SIGTERM');
  assert.equal(await slow, 'slow, but whole\n');
  assert.equal(await it.ended, 0);
  for (const [name, count] of [['worker_exit', 2], ['child_exit', 2], ['on_exit', 1], ['pre_fork', 2]]) {
    assert.equal(it.count(`${name} {`), count, `${name} in ${it.said}`);
  }
});

test('reload under load: no request fails, and other processes answer', async (t) => {
  const it = await program(t, 'plain.js', { workers: 2 });
  await it.until('when_ready');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 16 });
  t.after(() => agent.destroy());
  const pids = new Set();
  let goes = true;
  let asked = 0;
  const clients = Array.from({ length: 8 }, async (_, i) => {
    while (goes) {
      // Some keep their connections, some do not; who keeps one may find it just closed, and asks again.
      const answer = await ask(it.port, { path: '/pid', ...(i % 2 ? { agent } : {}) }).catch((error) => {
        if (i % 2 && error.code === 'ECONNRESET') return ask(it.port, { path: '/pid' });
        throw error;
      });
      assert.equal(answer.status, 200);
      pids.add(answer.body);
      asked++;
    }
  });
  for (let reload = 1; reload <= 2; reload++) {
    const before = asked;
    await until('load', () => asked > before + 100);
    it.kill('SIGHUP');
    await until(`reload ${reload}`, () => it.count('reloaded {}') === reload);
  }
  const before = asked;
  await until('load', () => asked > before + 100);
  goes = false;
  await Promise.all(clients);
  assert.ok(pids.size >= 6, `${pids.size} processes`);
  it.kill('SIGWINCH');
  await it.until('stats {');
  const stats = JSON.parse(/stats (.*)/.exec(it.said)[1]);
  assert.equal(stats.requests, stats.status[2]);
  assert.ok(stats.requests >= asked, `${stats.requests} ${asked}`);
  assert.deepEqual([stats.reloads, stats.workers, stats.app_errors, stats.aborted], [2, 2, 0, 0]);
});

test('more and fewer workers by TTIN and TTOU', async (t) => {
  const it = await program(t, 'plain.js', { workers: 1 });
  await it.until('when_ready');
  it.kill('SIGTTIN');
  await it.until('nworkers_changed {"now":2,"before":1}');
  await until('two serve', () => it.count('worker_ready') === 2);
  it.kill('SIGTTOU');
  await it.until('nworkers_changed {"now":1,"before":2}');
  await until('one has ended', () => it.count('child_exit') === 1);
});

test('an exception outside of any request ends the worker, and another comes', async (t) => {
  const it = await program(t, 'plain.js', { workers: 1 });
  await it.until('when_ready');
  const before = await page(it, '/pid');
  await assert.rejects(page(it, '/crash'), { code: 'ECONNRESET' });
  await it.until('outside of any request');
  await until('another serves', () => it.count('worker_ready') === 2);
  assert.notEqual(await page(it, '/pid'), before);
  assert.equal((await ask(it.port, { path: '/reject' })).status, 500);
  await it.until('a promise that was broken');
});

test('a worker serves when what its hook worker_init promised is done', async (t) => {
  const it = await program(t, 'plain.js', { workers: 1 });
  await until('it listens', () => ask(it.port).then((answer) => {
    assert.equal(answer.status, 200);
    return true;
  }, (error) => assert.equal(error.code, 'ECONNREFUSED')));
});

test('a worker that does not boot: the program says why and ends with 3', async (t) => {
  for (const when of ['before it serves', 'in its hook', 'in its promise']) {
    process.env.REFUSED = when;
    const it = await program(t, 'plain.js', { workers: 1 });
    delete process.env.REFUSED;
    assert.equal(await it.ended, 3, when);
    assert.match(it.said, /this worker does not boot/);
    assert.doesNotMatch(it.said, /worker_exit/, when);
  }
});

test('a worker whose hook worker_init never ends: boot_timeout', async (t) => {
  process.env.REFUSED = 'for ever';
  const it = await program(t, 'plain.js', { workers: 1, boot_timeout: '1s' });
  delete process.env.REFUSED;
  assert.equal(await it.ended, 3);
  assert.match(it.said, /was not ready within boot_timeout/);
});

test('a wrong option, and an address that is taken: what it is, and a status', async (t) => {
  const first = await program(t, 'plain.js', { workers: 1 });
  await first.until('when_ready');
  for (const [options, said] of [
    [{ bind: `127.0.0.1:${first.port}` }, /GW_ERR_IO/],
    [{ keepalive: 'soon' }, /keepalive/],
  ]) {
    const it = await program(t, 'plain.js', { workers: 1, ...options });
    assert.equal(await it.ended, 1);
    assert.match(it.said, said);
  }
});

test('no handler, and a hook that there is not', () => {
  assert.throws(() => gateway.serve(), { code: 'GW_ERR_INVALID' });
  assert.throws(() => gateway.serve(() => {}, { hooks: { when_raedy: () => {} } }), { code: 'GW_ERR_UNKNOWN', message: /when_raedy/ });
});

test('max_requests: workers leave, and nothing is lost', async (t) => {
  const it = await program(t, 'plain.js', { workers: 1, max_requests: 20 });
  await it.until('when_ready');
  for (let i = 0; i < 100; i++) assert.equal(await page(it, '/'), 'hello, world\n');
  await until('some have left', () => it.count('child_exit') >= 3);
});

test('INT cuts what is there', async (t) => {
  const it = await program(t, 'plain.js', { workers: 1 });
  await it.until('when_ready');
  const client = await raw(it.port);
  client.send('GET /slow HTTP/1.1\r\nHost: x\r\n\r\n');
  await it.until('slow began');
  const slow = await raw(it.port);
  slow.socket.pause();
  slow.send('GET /big HTTP/1.1\r\nHost: x\r\n\r\n');
  await it.until('big began');
  it.kill('SIGINT');
  assert.equal(await it.ended, 0);
  assert.match(it.said, /child_exit {"pid":\d+,"slot":0,"generation":0,"exit_status":0,/);
  await client.end();
  assert.doesNotMatch(client.text(), /slow, but whole/);
});

test('20,000 requests leave nothing behind', async (t) => {
  const it = await program(t, 'plain.js', { workers: 1 }, ['--expose-gc']);
  await it.until('when_ready');
  const agent = new http.Agent({ keepAlive: true, maxSockets: 32 });
  t.after(() => agent.destroy());
  const some = (count) => Promise.all(Array.from({ length: 32 }, async () => {
    for (let i = 0; i < count / 32; i++) {
      if (i % 8 === 0) await ask(it.port, { agent, method: 'POST', path: '/echo' }, 'y'.repeat(2000));
      else await ask(it.port, { agent, path: '/' });
    }
  }));
  const used = async () => JSON.parse(await page(it, '/memory'));
  await some(10_000);
  const before = await used();
  await some(20_000);
  const after = await used();
  for (const [kind, most] of [['heapUsed', 1], ['arrayBuffers', 1], ['rss', 10]]) {
    const grown = (after[kind] - before[kind]) / 1024 / 1024;
    assert.ok(grown < most, `${kind}: ${grown} MiB more`);
  }
});

test("the README's program works as it is written", async (t) => {
  const root = path.join(__dirname, '..');
  const dir = temporary(t);
  const port = await freePort();
  const [, text] = /```js\n(\/\/ app\.js[^]*?)```/.exec(fs.readFileSync(path.join(root, 'README.md'), 'utf8'));
  fs.writeFileSync(path.join(dir, 'app.js'), text.replace('127.0.0.1:8000', `127.0.0.1:${port}`));
  fs.mkdirSync(path.join(dir, 'node_modules'));
  fs.symlinkSync(root, path.join(dir, 'node_modules/libgateway'));
  fs.symlinkSync(path.join(root, 'node_modules/express'), path.join(dir, 'node_modules/express'));
  const it = new Program(t, process.execPath, [path.join(dir, 'app.js')]);
  await it.until('ready {');
  assert.equal((await ask(port)).body, 'hello, world\n');
  const headers = { 'Content-Type': 'application/json' };
  assert.equal((await ask(port, { method: 'POST', path: '/echo', headers }, '{"a":1}')).body, '{"a":1}');
  const numbers = await ask(port, { path: '/numbers' });
  assert.deepEqual([numbers.body, numbers.headers['transfer-encoding']], ['0\n1\n2\n3\n4\n', 'chunked']);
  it.kill('SIGTERM');
  assert.equal(await it.ended, 0);
});

test('what a hook leaves to nextTick and promises runs after it', async (t) => {
  const it = new Program(t, process.execPath, ['-e', `
    const gateway = require(${JSON.stringify(path.join(__dirname, '..'))});
    gateway.serve(() => {}, { bind: '127.0.0.1:0', workers: 1, errorlog: '/dev/null', hooks: {
      when_ready(_, arbiter) {
        process.nextTick(() => console.log('tick'));
        Promise.resolve().then(() => { console.log('then'); arbiter.close(); });
      },
    } });`]);
  await it.until('then');
  assert.equal(await it.ended, 0, it.said);
  assert.equal(it.said, 'tick\nthen\n');
});
