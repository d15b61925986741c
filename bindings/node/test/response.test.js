'use strict';
// res: an http.ServerResponse as node:http has it.

const assert = require('node:assert/strict');
const { once } = require('node:events');
const http = require('node:http');
const { pipeline, Readable } = require('node:stream');
const { test } = require('node:test');
const { setImmediate: soon } = require('node:timers/promises');
const { ask, raw, serving, until } = require('./harness');

/** Handlers, each asked of node:http and of us: the answers are the same, but for how they are framed. */
const handlers = {
  'end with text': (req, res) => res.end('größe'),
  'end with octets': (req, res) => res.end(Buffer.from([0, 255, 10])),
  'end with an encoding': (req, res) => res.end('c3b6', 'hex'),
  'latin1 text': (req, res) => res.end('\xf6', 'latin1'),
  'end with nothing': (req, res) => res.end(),
  'an empty text': (req, res) => res.end(''),
  'setHeader, appendHeader, removeHeader': (req, res) => {
    res.setHeader('X-One', 1);
    res.setHeader('X-List', ['a', 'b']);
    res.setHeader('X-Gone', 'x');
    res.appendHeader('X-One', 'two');
    res.removeHeader('x-gone');
    res.end(JSON.stringify([res.getHeaders(), res.getHeaderNames(), res.hasHeader('X-ONE'), res.headersSent]));
  },
  'writeHead with an object': (req, res) => res.writeHead(201, { 'X-A': 'b', 'Set-Cookie': ['a=1', 'b=2'] }).end('made'),
  'writeHead with a list': (req, res) => res.writeHead(202, ['X-A', '1', 'X-A', '2', 'X-B', '3']).end(),
  'writeHead over setHeader': (req, res) => {
    res.setHeader('X-A', 'before');
    res.setHeader('X-B', 'stays');
    res.writeHead(404, 'Nowhere', { 'x-a': 'after' }).end('gone');
  },
  'a reason of our own': (req, res) => res.writeHead(200, 'Fine').end(),
  statusMessage: (req, res) => { res.statusCode = 418; res.statusMessage = 'Short'; res.end(); },
  '204': (req, res) => res.writeHead(204, { 'X-A': 'b' }).end('not sent'),
  '304': (req, res) => { res.statusCode = 304; res.setHeader('ETag', '"x"'); res.end(); },
  'write twice': (req, res) => { res.write('a'); res.write(Buffer.from('b')); res.end('c'); },
  'write over ticks': async (req, res) => {
    for (const text of ['one ', 'two ', 'three']) { res.write(text); await soon(); }
    res.end();
  },
  'a length of its own': (req, res) => { res.setHeader('Content-Length', 5); res.write('12'); res.end('345'); },
  'hop-by-hop fields are the server\'s': (req, res) => {
    res.setHeader('Transfer-Encoding', 'chunked');
    res.setHeader('Connection', 'keep-alive');
    res.end('x');
  },
  'errors that are thrown': (req, res) => {
    const seen = [];
    const tried = (what) => { try { what(); } catch (error) { seen.push(error.code); } };
    tried(() => res.setHeader('Bad Name', 'x'));
    tried(() => res.setHeader('X-A', 'x\r\nY: z'));
    tried(() => res.setHeader('X-A', undefined));
    tried(() => res.writeHead(99));
    tried(() => res.writeHead(200, { 'X-A': '\0' }));
    tried(() => res.write(17));
    res.writeHead(200);
    tried(() => res.writeHead(200));
    tried(() => res.setHeader('X-A', 'late'));
    res.end(JSON.stringify(seen));
  },
  'write after end': (req, res) => {
    res.on('error', () => {});
    res.end('whole');
    res.write('more', (error) => { if (error?.code !== 'ERR_STREAM_WRITE_AFTER_END') throw new Error('no error'); });
    res.end('again');
  },
  'a stream': (req, res) => pipeline(Readable.from(['a', 'b', 'c']), res, () => {}),
  'cork and uncork': (req, res) => {
    res.cork();
    res.write('a');
    res.write('b');
    res.uncork();
    setImmediate(() => res.end('c'));
  },
};

for (const [name, handler] of Object.entries(handlers)) {
  for (const method of ['GET', 'HEAD', 'POST']) {
    test(`as node:http has it: ${name}, ${method}`, async (t) => {
      const ours = await serving(t, handler);
      const theirs = http.createServer(handler).listen(0, '127.0.0.1');
      await once(theirs, 'listening');
      const [mine, its] = await Promise.all([ours, theirs].map((server) => ask(server.address().port, { method })));
      theirs.close();
      for (const answer of [mine, its]) {
        for (const framing of ['date', 'connection', 'keep-alive', 'transfer-encoding', 'content-length']) {
          delete answer.headers[framing];
        }
        delete answer.raw;
      }
      assert.deepEqual(mine, its);
    });
  }
}

test('what is ended at once has a Content-Length, also for HEAD', async (t) => {
  const server = await serving(t, (req, res) => res.end('13 octets, ok'));
  for (const method of ['GET', 'HEAD']) {
    assert.equal((await ask(server.address().port, { method })).headers['content-length'], '13');
  }
});

test('an answer may close its connection', async (t) => {
  const ways = {
    header: (res) => res.setHeader('Connection', 'close'),
    list: (res) => res.writeHead(200, ['connection', 'keep-alive, Close']),
    property: (res) => { res.shouldKeepAlive = false; },
    streamed: (res) => { res.setHeader('connection', ['close']); res.flushHeaders(); },
    none: () => {},
  };
  const server = await serving(t, (req, res) => {
    ways[req.url.slice(1)](res);
    res.end('x');
  });
  for (const way of Object.keys(ways)) {
    const client = await raw(server.address().port);
    client.send(`GET /${way} HTTP/1.1\r\nHost: x\r\n\r\n`);
    if (way === 'none') {
      // It is there for another request.
      client.send('GET /header HTTP/1.1\r\nHost: x\r\n\r\n');
    }
    await client.end();
    assert.equal(client.text().match(/^Connection: close\r$/gm)?.length, 1, way);
  }
});

test('finish and close, in this order, once', async (t) => {
  const seen = [];
  const server = await serving(t, (req, res) => {
    res.on('prefinish', () => seen.push('prefinish'));
    res.on('finish', () => seen.push(`finish ${res.writableEnded} ${res.writableFinished}`));
    res.on('close', () => seen.push(`close ${res.closed} ${res.socket}`));
    res.end('x', () => seen.push('callback'));
    seen.push(`ended ${res.finished} ${res.headersSent}`);
  });
  await ask(server.address().port);
  await until('close', () => seen.some((it) => it.startsWith('close')));
  await soon();
  assert.deepEqual(seen.sort(), ['callback', 'close true null', 'ended true true', 'finish true true', 'prefinish']);
});

test('finish comes before close, also where many are answered at once', async (t) => {
  const seen = [];
  const server = await serving(t, (req, res) => {
    res.on('finish', () => seen.push(`finish ${req.url}`)).on('close', () => seen.push(`close ${req.url}`));
    res.write('', () => seen.push(`callback ${req.url}`));
    res.end('x');
  });
  const client = await raw(server.address().port);
  const paths = ['/0', '/1', '/2', '/3'];
  client.send(paths.map((it) => `GET ${it} HTTP/1.1\r\nHost: x\r\n\r\n`).join(''));
  await until('all', () => seen.length === 12);
  client.socket.destroy();
  assert.deepEqual(seen, paths.flatMap((it) => [`callback ${it}`, `finish ${it}`, `close ${it}`]));
});

test('callbacks of write are called', async (t) => {
  const seen = [];
  const server = await serving(t, (req, res) => {
    res.write('a', () => { seen.push('a'); res.write('b', 'utf8', () => { seen.push('b'); res.end(); }); });
  });
  assert.equal((await ask(server.address().port)).body, 'ab');
  assert.deepEqual(seen, ['a', 'b']);
});

test('back-pressure: a slow client stops the writer, drain lets it go on', async (t) => {
  const most = 16 * 1024 * 1024;
  let written = 0;
  let drains = 0;
  const server = await serving(t, (req, res) => {
    const piece = Buffer.alloc(64 * 1024, 'x');
    const more = () => {
      while (written < most) {
        written += piece.length;
        if (!res.write(piece)) {
          assert.equal(res.writableNeedDrain, true);
          res.once('drain', () => { drains++; assert.equal(res.writableNeedDrain, false); more(); });
          return;
        }
      }
      res.end();
    };
    more();
  });
  const client = await raw(server.address().port);
  client.socket.pause();
  client.send('GET / HTTP/1.0\r\n\r\n');
  // It stops: nothing is written in many turns of the loop.
  let before = -1;
  await until('the writer waits', async () => {
    const same = written > 0 && written === before;
    before = written;
    for (let i = 0; i < 50; i++) await soon();
    return same;
  });
  assert.ok(written < most, `${written}`);
  let received = 0;
  client.socket.removeAllListeners('data');
  client.socket.on('data', (piece) => { received += piece.length; }).resume();
  await client.end();
  assert.ok(received > most && drains > 0, `${received} ${drains}`);
});

test('a big answer by pipe is whole', async (t) => {
  const octets = Buffer.alloc(3_000_000, 'abcdefg');
  const server = await serving(t, (req, res) => {
    if (req.url === '/end') return void res.end(octets);
    if (req.url === '/text') return void res.end(octets.toString());
    pipeline(Readable.from((function* () { for (let i = 0; i < octets.length; i += 50_000) yield octets.subarray(i, i + 50_000); })()), res, () => {});
  });
  for (const path of ['/end', '/text', '/pipe']) {
    assert.ok((await ask(server.address().port, { path })).octets.equals(octets), path);
  }
});

test('flushHeaders and then the first data', async (t) => {
  let go;
  const server = await serving(t, (req, res) => {
    res.writeHead(200, { 'X-Early': 'yes' });
    res.flushHeaders();
    go = () => { res.write('data: 1\n\n'); };
    res.on('close', () => { go = null; });
  });
  const client = await raw(server.address().port);
  client.send('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  await client.until('X-Early: yes');
  go();
  await client.until('data: 1');
  client.socket.destroy();
  await until('it is over', () => go === null);
});

test('early hints, and 100 Continue when the body is asked for', async (t) => {
  const server = await serving(t, (req, res) => {
    if (req.method === 'GET') {
      res.writeEarlyHints({ link: '</a.css>; rel=preload', 'x-more': 'b' });
      res.writeProcessing();
      return void res.end('hinted');
    }
    res.writeContinue();
    req.pipe(res);
  });
  const answer = await ask(server.address().port);
  assert.deepEqual(answer.hints.map((hint) => hint.statusCode), [103, 102]);
  assert.equal(answer.hints[0].headers.link, '</a.css>; rel=preload');
  assert.equal(answer.hints[0].headers['x-more'], 'b');
  assert.equal(answer.body, 'hinted');

  const client = await raw(server.address().port);
  client.send('POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n');
  await client.until('HTTP/1.1 100 Continue\r\n\r\n');
  client.send('ok');
  await client.until('HTTP/1.1 200 OK');
  assert.equal(client.text().split('100 Continue').length, 2);
  client.socket.destroy();
});

test('what is not supported says so', async (t) => {
  const server = await serving(t, (req, res) => {
    const seen = [];
    for (const what of [
      () => res.addTrailers({ 'X-Sum': '1' }),
      () => res.writeHead(101, { Upgrade: 'websocket' }),
      () => server.on('upgrade', () => {}),
    ]) {
      try { what(); } catch (error) { seen.push(`${error.code}: ${error.message}`); }
    }
    res.statusCode = 200;
    res.statusMessage = undefined;
    res.end(seen.join('\n'));
  });
  const { body } = await ask(server.address().port);
  assert.deepEqual(body.split('\n').map((line) => line.slice(0, 34)), [
    'GW_ERR_UNSUPPORTED: trailers are n', 'GW_ERR_UNSUPPORTED: upgrades are n', "GW_ERR_UNSUPPORTED: 'upgrade': upg",
  ]);
});

test('a handler that fails: 500, and its stack in the log', async (t) => {
  const fs = require('node:fs');
  const dir = require('./harness').temporary(t);
  const server = await serving(t, (req, res) => {
    if (req.url === '/throw') throw new Error('thrown here');
    if (req.url === '/reject') return Promise.reject(new Error('rejected here'));
    if (req.url === '/begun') {
      res.write('begun');
      return soon().then(soon).then(() => { throw new Error('failed later'); });
    }
    res.end('alive');
  }, { errorlog: `${dir}/log` });
  const { port } = server.address();
  for (const path of ['/throw', '/reject']) assert.equal((await ask(port, { path })).status, 500);
  await assert.rejects(ask(port, { path: '/begun' }), { code: 'ECONNRESET' });
  assert.equal((await ask(port)).body, 'alive');
  const log = fs.readFileSync(`${dir}/log`, 'utf8');
  for (const text of ['Error: thrown here', 'Error: rejected here', 'Error: failed later', 'response.test.js']) {
    assert.ok(log.includes(text), `${text} in ${log}`);
  }
  assert.equal(server.stats().status[5], 2);
});

test('timeouts of a response', async (t) => {
  const seen = [];
  const server = await serving(t, (req, res) => {
    res.setTimeout(20, () => { seen.push('timeout'); res.statusCode = 503; res.end('late'); });
  });
  assert.equal((await ask(server.address().port)).status, 503);
  assert.deepEqual(seen, ['timeout']);
});

test('a status that was refused leaves no phrase of its own behind', async (t) => {
  const server = await serving(t, (req, res) => {
    assert.throws(() => res.writeHead(101), { code: 'GW_ERR_UNSUPPORTED' });
    res.writeHead(500).end();
  });
  const { status, reason } = await ask(server.address().port);
  assert.deepEqual([status, reason], [500, 'Internal Server Error']);
});

test('who lets go of the connection when the answer is there cuts nothing, and hears of it once', async (t) => {
  const ways = {
    socket: (req) => req.socket.destroy(),
    response: (req, res) => res.destroy(),
    end: (req) => req.socket.end(),
  };
  const seen = [];
  const server = await serving(t, (req, res) => {
    const [, when, way] = req.url.split('/');
    for (const [name, of] of Object.entries({ req, res })) {
      for (const event of ['aborted', 'error', 'finish', 'end', 'close']) of.on(event, () => seen.push(`${name} ${event}`));
    }
    req.socket.on('close', () => seen.push('socket close'));
    res.end('whole', () => when === 'later' && ways[way](req, res));
    if (when === 'now') ways[way](req, res);
  });
  for (const when of ['later', 'now']) {
    for (const way of Object.keys(ways)) {
      seen.length = 0;
      assert.equal((await ask(server.address().port, { path: `/${when}/${way}` })).body, 'whole');
      await until('close', () => seen.includes('req close'));
      assert.deepEqual(seen.sort(), ['req close', 'req end', 'res close', 'res finish', 'socket close'], `${when} ${way}`);
    }
  }
});

test('strictContentLength', async (t) => {
  const handler = (req, res) => {
    const tried = (what) => { try { what(); return 'done'; } catch (error) { return error.code; } };
    res.strictContentLength = true;
    res.setHeader('X-Empty', '');
    res.writeHead(200, { 'Content-Length': 4 });
    seen.push(tried(() => res.write('12345')), tried(() => res.write('12')), tried(() => res.end('34')));
  };
  const seen = [];
  const server = await serving(t, handler);
  assert.equal((await ask(server.address().port)).body, '1234');
  assert.deepEqual(seen, ['ERR_HTTP_CONTENT_LENGTH_MISMATCH', 'done', 'done']);
});

test('strictContentLength, and HEAD that has no body to compare', async (t) => {
  const handler = (req, res) => {
    res.strictContentLength = true;
    res.setHeader('Content-Length', 5);
    res.end(req.url === '/body' ? 'hello' : undefined);
  };
  const server = await serving(t, handler);
  for (const path of ['/', '/body']) {
    const answer = await ask(server.address().port, { method: 'HEAD', path });
    assert.deepEqual([answer.status, answer.headers['content-length'], answer.body], [200, '5', ''], path);
  }
});

const { writeInformation } = http.ServerResponse.prototype;

test('writeInformation', { skip: !writeInformation }, async (t) => {
  const server = await serving(t, (req, res) => {
    res.writeInformation(103, { link: '</a.css>; rel=preload' });
    res.end('body');
  });
  const { status, body, hints } = await ask(server.address().port);
  assert.deepEqual([status, body, hints.map((it) => [it.statusCode, it.headers])],
    [200, 'body', [[103, { link: '</a.css>; rel=preload' }]]]);
});

test('interim responses after the head are not in the body', async (t) => {
  // Node says that they come too late since it has writeInformation.
  const late = (what) => (writeInformation ? assert.throws(what, { code: 'ERR_HTTP_HEADERS_SENT' }) : what());
  const server = await serving(t, async (req, res) => {
    if (req.url === '/begun') {
      res.write('bo');
      await soon();
    } else {
      res.writeHead(200);
    }
    late(() => res.writeContinue());
    late(() => res.writeProcessing());
    late(() => res.writeEarlyHints({ link: '</a.css>; rel=preload' }));
    res.end(req.url === '/begun' ? 'dy' : 'body');
  });
  for (const path of ['/', '/begun']) {
    const answer = await ask(server.address().port, { path });
    assert.deepEqual([answer.status, answer.body], [200, 'body'], path);
  }
});

test('a client that leaves: callbacks of write hear of it, and there is no finish', async (t) => {
  const seen = [];
  const server = await serving(t, (req, res) => {
    const big = Buffer.alloc(16 * 1024 * 1024);
    res.on('finish', () => seen.push('finish')).on('close', () => { res.end(); seen.push('close'); });
    res.write(big);
    res.write(big, (error) => seen.push(`written ${error?.code}`));
    if (req.url === '/ended') res.end();
  });
  for (const path of ['/', '/ended']) {
    seen.length = 0;
    const client = await raw(server.address().port);
    client.socket.pause();
    client.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await once(client.socket, 'readable');
    client.socket.destroy();
    await until('close', () => seen.includes('close'));
    for (let i = 0; i < 5; i++) await soon();
    assert.deepEqual(seen, ['written ERR_STREAM_DESTROYED', 'close'], path);
  }
});
