'use strict';
// req: an http.IncomingMessage as node:http has it.

const assert = require('node:assert/strict');
const { AsyncLocalStorage } = require('node:async_hooks');
const { once } = require('node:events');
const http = require('node:http');
const { test } = require('node:test');
const { setImmediate: soon } = require('node:timers/promises');
const gateway = require('..');
const { ask, raw, serving, until } = require('./harness');

/** What node:http makes of the same octets, but for what is not the request's. */
async function differential(t, octets) {
  const seen = [];
  const handler = (req, res) => {
    const { method, url, httpVersion, httpVersionMajor, httpVersionMinor, headers, rawHeaders, upgrade, complete } = req;
    const own = { method, url, httpVersion, httpVersionMajor, httpVersionMinor, headers, rawHeaders, upgrade, complete };
    own.distinct = { ...req.headersDistinct };
    own.peer = [req.socket.remoteAddress, typeof req.socket.remotePort, req.socket.remoteFamily, req.socket.encrypted ?? false];
    own.is = req instanceof http.IncomingMessage && res instanceof http.ServerResponse && res.req === req;
    own.sockets = req.socket === req.connection && res.socket === req.socket;
    const pieces = [];
    req.on('data', (piece) => pieces.push(piece));
    req.on('end', () => {
      own.body = Buffer.concat(pieces).toString('latin1');
      own.ended = [req.complete, req.readableEnded, req.aborted];
      own.trailers = req.trailers;
      seen.push(own);
      res.end();
    });
  };
  const ours = await serving(t, handler);
  const theirs = http.createServer(handler).listen(0, '127.0.0.1');
  await once(theirs, 'listening');
  for (const server of [ours, theirs]) {
    const before = seen.length;
    const client = await raw(server.address().port);
    client.send(octets);
    await until('an answer', () => seen.length > before);
    client.socket.destroy();
  }
  theirs.close();
  return seen;
}

const get = 'GET /a/%20b?c=d&e HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\nCookie: a=1\r\ncookie: b=2\r\nX-Latin: \xe4\r\nX_Under: 1\r\n\r\n';
const requests = {
  'a GET': get,
  'HTTP/1.0': 'GET / HTTP/1.0\r\nAccept: text/html\r\n\r\n',
  'a body with a length': 'POST /p HTTP/1.1\r\nHost: x\r\nContent-Type: a/b\r\nContent-Length: 4\r\n\r\nb\xf6dy',
  'a body in chunks': 'PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n',
  'an empty body': 'POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n',
  'a whole URL': 'GET http://x/y?z HTTP/1.1\r\nHost: x\r\n\r\n',
  OPTIONS: 'OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n',
  'fields that come once': 'GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: a\r\nUser-Agent: b\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n',
};

for (const [name, octets] of Object.entries(requests)) {
  test(`as node:http has it: ${name}`, async (t) => {
    const [ours, theirs] = await differential(t, Buffer.from(octets, 'latin1'));
    // node:http knows that there is no body when it calls the handler; we know when it is asked for.
    delete ours.complete;
    delete theirs.complete;
    assert.deepEqual(ours, theirs);
    assert.equal(ours.is && ours.sockets, true);
  });
}

test('a body streams: its first octets are there before its last are sent', async (t) => {
  const seen = [];
  const server = await serving(t, async (req, res) => {
    for await (const piece of req) seen.push(piece.toString());
    res.end(seen.join('|'));
  });
  let request;
  const answer = ask(server.address().port, { method: 'POST' }, (it) => { request = it; it.write('first'); });
  await until('the first', () => seen.length === 1);
  request.end('last');
  assert.equal((await answer).body, 'first|last');
});

test('a body of several MiB is whole, also when it is read slowly', async (t) => {
  const server = await serving(t, async (req, res) => {
    let length = 0;
    for await (const piece of req) {
      length += piece.length;
      await soon();
    }
    res.end(String(length));
  });
  const octets = Buffer.alloc(5_000_000, 'x');
  assert.equal((await ask(server.address().port, { method: 'POST' }, octets)).body, '5000000');
});

test('setEncoding, pause, pipe', async (t) => {
  const server = await serving(t, (req, res) => {
    if (req.url === '/pipe') return void req.pipe(res);
    req.setEncoding('utf8');
    req.pause();
    setImmediate(() => {
      let text = '';
      req.on('data', (piece) => { text += piece; }).on('end', () => res.end(text.toUpperCase())).resume();
    });
  });
  const { port } = server.address();
  assert.equal((await ask(port, { method: 'POST' }, 'größe')).body, 'GRÖSSE');
  const octets = Buffer.alloc(1_000_000, 'abc');
  assert.ok((await ask(port, { method: 'POST', path: '/pipe' }, octets)).octets.equals(octets));
});

test('an answer that ends before its request was read does not cut who reads it', async (t) => {
  let length = 0;
  const server = await serving(t, (req, res) => {
    req.on('data', (piece) => { length += piece.length; });
    res.end('early');
  });
  const octets = Buffer.alloc(500_000, 'x');
  assert.equal((await ask(server.address().port, { method: 'POST' }, octets)).body, 'early');
  await until('all was read', () => length === octets.length);
});

test('a body that nobody reads does no harm, and the request ends', async (t) => {
  const ends = [];
  const server = await serving(t, (req, res) => {
    req.on('end', () => ends.push('end')).on('close', () => ends.push('close'));
    res.end('unread');
  });
  for (const body of [undefined, 'short', Buffer.alloc(300_000)]) {
    const answer = await ask(server.address().port, { method: 'POST' }, body);
    assert.equal(answer.body, 'unread');
  }
  await until('three ends', () => ends.length === 6);
  assert.deepEqual(ends, ['end', 'close', 'end', 'close', 'end', 'close']);
});

test('a client that leaves: aborted, close, and the signal', async (t) => {
  const seen = [];
  let signal;
  const server = await serving(t, (req, res) => {
    signal = gateway.abortSignal(res);
    req.on('aborted', () => seen.push('aborted'));
    req.on('error', (error) => seen.push(error.code));
    req.on('close', () => seen.push('req close'));
    res.on('close', () => seen.push(`res close ${res.writableFinished}`));
    seen.push('here');
  });
  const client = await raw(server.address().port);
  client.send(get);
  await until('the handler', () => seen.length === 1);
  assert.equal(signal.aborted, false);
  client.socket.destroy();
  await until('both are closed', () => seen.length === 5);
  assert.deepEqual(seen.sort(), ['ECONNRESET', 'aborted', 'here', 'req close', 'res close false']);
  assert.equal(signal.aborted, true);
  await until('nothing is in flight', () => server.stats().in_flight === 0);
});

test('a body that is cut short is an error of the stream', async (t) => {
  const seen = [];
  const server = await serving(t, async (req) => {
    try {
      for await (const piece of req) seen.push(piece.toString());
    } catch (error) {
      seen.push(error.code);
    }
  });
  const client = await raw(server.address().port);
  client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf');
  await until('a piece', () => seen.length === 1);
  client.socket.destroy();
  await until('its end', () => seen.length === 2);
  assert.deepEqual(seen, ['half', 'ECONNRESET']);
});

test('more than max_body is an error of the stream, with the name of the result', async (t) => {
  const seen = [];
  const server = await serving(t, async (req, res) => {
    try {
      for await (const piece of req) seen.push(piece.length);
    } catch (error) {
      seen.push(error.code);
    }
    res.end();
  }, { max_body: 1000 });
  const client = await raw(server.address().port);
  client.send('POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nfour\r\n');
  await until('a piece', () => seen.length === 1);
  client.send(`400\r\n${'x'.repeat(1024)}\r\n`);
  await until('the error', () => seen.includes('GW_ERR_LIMIT'));
});

test('destroy() lets go of the client', async (t) => {
  const server = await serving(t, (req, res) => (req.url === '/res' ? res : req).destroy());
  for (const path of ['/req', '/res']) {
    const client = await raw(server.address().port);
    client.send(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
    await until('an answer', () => client.text() !== '' || client.socket.destroyed);
    assert.match(client.text(), /^HTTP\/1.1 500 |^$/);
    client.socket.destroy();
  }
  await until('nothing is in flight', () => server.stats().in_flight === 0);
});

test('CGI variables', async (t) => {
  const server = await serving(t, (req, res) => res.end(JSON.stringify(gateway.environ(req))));
  const { body } = await ask(server.address().port, { path: '/a%20b?c', headers: { 'X-Y': 'z' } });
  const environ = JSON.parse(body);
  assert.equal(environ.PATH_INFO, '/a b');
  assert.equal(environ.QUERY_STRING, 'c');
  assert.equal(environ.HTTP_X_Y, 'z');
});

test('what a handler enters in AsyncLocalStorage reaches its request, and no other', async (t) => {
  const storage = new AsyncLocalStorage();
  const server = await serving(t, (req, res) => {
    const before = storage.getStore();
    storage.enterWith(req.url);
    req.on('data', () => {});
    req.on('end', () => setImmediate(() => res.end(JSON.stringify([before ?? null, storage.getStore()]))));
  });
  const client = await raw(server.address().port);
  const post = (path) => `POST ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody`;
  client.send(['/0', '/1', '/2'].map(post).join(''));
  for (const path of ['/0', '/1', '/2']) await client.until(`[null,"${path}"]`);
  const many = await Promise.all(Array.from({ length: 50 }, (_, i) => ask(server.address().port, { path: `/${i}`, method: 'POST' }, 'x')));
  assert.deepEqual(many.map((answer) => JSON.parse(answer.body)), many.map((_, i) => [null, `/${i}`]));
});

test('a request that is read after its answer has an end', async (t) => {
  const seen = [];
  const server = await serving(t, async (req, res) => {
    res.end('first');
    await soon();
    await soon();
    for await (const piece of req) seen.push(piece);
    seen.push('end');
  });
  assert.equal((await ask(server.address().port)).body, 'first');
  await until('the end', () => seen.length === 1);
});

test('who has paused the body does not hold up the answer', async (t) => {
  const server = await serving(t, (req, res) => {
    req.once('data', () => {
      req.pause();
      res.writeHead(413);
      res.write('too ');
      setImmediate(() => res.end('much'));
    });
  });
  const client = await raw(server.address().port);
  client.send(`POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n${'x'.repeat(100_000)}`);
  await client.until('\r\n0\r\n\r\n');
  client.socket.destroy();
});

test('an early answer is whole while the body is on its way, and the body goes on', async (t) => {
  const seen = [];
  const server = await serving(t, (req, res) => {
    res.on('finish', () => seen.push('finish')).on('close', () => seen.push('close'));
    req.on('data', (piece) => {
      seen.push(String(piece));
      if (res.writableEnded) return;
      res.statusCode = 413;
      res.write('too ');
      res.end('much');
    });
  });
  const client = await raw(server.address().port);
  client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc');
  await client.until('\r\n\r\ntoo much');
  assert.match(client.text(), /^HTTP\/1.1 413 [^]*\r\nContent-Length: 8\r\n/i);
  await until('finish', () => seen.length === 2);
  client.send('def');
  await until('close', () => seen.length === 4);
  assert.deepEqual(seen, ['abc', 'finish', 'def', 'close']);
  client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nghi');
  await until('the next', () => seen.length === 7);
  client.socket.destroy();
});

test('who pauses the body after the answer ends the request', async (t) => {
  let isClosed = false;
  const server = await serving(t, (req, res) => {
    res.on('close', () => { isClosed = true; });
    req.once('data', () => {
      res.write('begun ');
      setImmediate(() => { res.end('ended'); req.pause(); });
    });
  });
  const client = await raw(server.address().port);
  client.send('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc');
  await client.until('\r\n0\r\n\r\n');
  await until('close', () => isClosed);
  client.socket.destroy();
});
