'use strict';
// One request and its answer.  req and res are Node's own http.IncomingMessage and http.ServerResponse, whose
// methods do what they always do, also when Express has given the objects other prototypes.  What is ours is
// below them: the "socket" that they read from and write to, and for each res what makes the head, which is the
// library's business, and what is told of the end.

const { AsyncResource } = require('node:async_hooks');
const { EventEmitter } = require('node:events');
const http = require('node:http');
const { addon, failure, AGAIN, ERR_CLOSED, RESPONSE_CLOSE } = require('./addon');

const HIGH_WATER_MARK = 64 * 1024;
const PIECE = 64 * 1024; // of a request's body, at most
const NOTHING = Buffer.alloc(0);
const MANUAL = { requireManualDestroy: true }; // nobody hears of a scope's end
const scratch = Buffer.allocUnsafeSlow(PIECE);

// What connects two machines is not the application's: RFC 9110 section 7.6.1, and of RFC 2616 section 13.5.1, which
// PEP 3333 names, the fields for proxies.  The library refuses an answer that has one.
const HOP_BY_HOP = new Set([
  'connection', 'keep-alive', 'proxy-authenticate', 'proxy-authorization', 'proxy-connection', 'te', 'trailer',
  'transfer-encoding', 'upgrade',
]);

// Of these the library has the same phrase as http.STATUS_CODES, and need not be told.
const PHRASED = new Set([200, 201, 204, 206, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 500, 502, 503]);

// Two symbols of Node's: the header fields that setHeader keeps, and that someone was told to wait.
const [kOutHeaders, kNeedDrain] = ['kOutHeaders', 'kNeedDrain'].map((name) =>
  Object.getOwnPropertySymbols(new http.OutgoingMessage()).find((symbol) => symbol.description === name));

if (!kOutHeaders || !kNeedDrain) {
  throw failure('GW_ERR_UNSUPPORTED', `libgateway does not know Node ${process.versions.node}: its http is another`);
}

// ---- the head of an answer ----

function field(name, value) {
  return `${name}: ${value}\r\n`;
}

// Whether the head that was made last wants the connection closed: Connection itself is the library's to say.
let isLast = false;
const CLOSE = /(?:^|\W)close(?:$|\W)/i;

/** One header as setHeader or writeHead were given it; a list is a field for each, but for cookies. */
function fields(name, lower, value) {
  if (HOP_BY_HOP.has(lower)) {
    if (lower === 'connection' && CLOSE.test(value)) isLast = true;
    return '';
  }
  if (!Array.isArray(value)) return field(name, value);
  if (lower === 'cookie') return field(name, value.join('; '));
  let all = '';
  for (const one of value) all += field(name, one);
  return all;
}

function checked(name, value) {
  http.validateHeaderName(name);
  if (Array.isArray(value)) {
    for (const one of value) http.validateHeaderValue(name, one);
  } else {
    http.validateHeaderValue(name, value);
  }
  return fields(name, name.toLowerCase(), value);
}

function block(res, headers) {
  let all = '';
  isLast = false;
  if (!headers) return all;
  if (headers === res[kOutHeaders]) {
    for (const lower in headers) all += fields(headers[lower][0], lower, headers[lower][1]);
  } else if (!Array.isArray(headers)) {
    for (const name of Object.keys(headers)) all += checked(name, headers[name]);
  } else if (Array.isArray(headers[0])) {
    for (const [name, value] of headers) all += checked(name, value);
  } else {
    if (headers.length % 2 !== 0) {
      throw Object.assign(new TypeError('The list of headers has a name without a value'), { code: 'ERR_INVALID_ARG_VALUE' });
    }
    for (let i = 0; i < headers.length; i += 2) all += checked(headers[i], headers[i + 1]);
  }
  return all;
}

/** In the place of OutgoingMessage's _storeHeader: writeHead has checked status and reason. */
function storeHeader(_statusLine, headers) {
  const status = this.statusCode;
  if (status < 200) { // nothing was sent: another answer is still possible
    this._hasBody = true;
    this.statusMessage = undefined;
  }
  if (status === 101) {
    throw failure('GW_ERR_UNSUPPORTED', 'upgrades are not supported: a connection cannot be handed over');
  }
  if (status < 200) throw failure('GW_ERR_INVALID', `${status} is no status of an answer: writeEarlyHints() sends a 103`);
  const socket = this.socket;
  const head = block(this, headers);
  if (this.strictContentLength && this.req.method !== 'HEAD') { // what write() and end() compare with
    const [, length] = /^content-length: *(\d+)\r$/im.exec(head) ?? [];
    if (length) this._contentLength = Number(length);
  }
  if (socket !== null) {
    socket.status = status;
    // Of HTTP/1.0 Node says false by itself.
    const keeps = this.shouldKeepAlive || this.req.httpVersionMinor === 0;
    socket.flags = isLast || !keeps ? RESPONSE_CLOSE : 0;
    socket.reason = PHRASED.has(status) && this.statusMessage === http.STATUS_CODES[status] ? '' : this.statusMessage;
    socket.head = head;
  }
  this._header = `${_statusLine}${head}\r\n`;
  this._headerSent = true; // what is written is the body, and nothing else
}

/** In the place of its _finish: end() was called. */
function finish() {
  this.emit('prefinish');
  this.socket.finish();
}

/**
 * In the place of a method that writes an interim response as text: after the head there is none any more, and Node
 * says so since it has writeInformation.
 */
function interim(method) {
  return function interimResponse(...args) {
    const { socket } = this;
    if (socket === null || socket.handle === 0 || (socket.started && !writeInformation)) return;
    socket.isInterim = true;
    try {
      method.apply(this, args);
    } finally {
      socket.isInterim = false;
    }
  };
}

const { prototype } = http.ServerResponse;
const writeContinue = interim(prototype.writeContinue);
const writeProcessing = interim(prototype.writeProcessing);
const writeEarlyHints = interim(prototype.writeEarlyHints);
const writeInformation = prototype.writeInformation && interim(prototype.writeInformation);

function addTrailers() {
  throw failure('GW_ERR_UNSUPPORTED', 'trailers are not supported');
}

// ---- what req and res have for a connection ----

/**
 * As much of a net.Socket as http's classes and their users need, for one request.  The functions that http's
 * classes call: resume() when the body is wanted, write(), cork() and uncork() with the answer.
 */
class Socket {
  constructor(server, handle, length, remoteAddress, remotePort, encrypted) {
    this.server = server;
    /** Of the library; 0: it was given up. */
    this.handle = handle;
    /** Octets of the request's body that are still to be read; -1: nobody knows. */
    this.left = length;
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
    this.encrypted = encrypted;
    this.readable = true;
    this.writable = true;
    this.destroyed = false;
    this.writableCorked = 0;
    this.writableLength = 0;
    this._httpMessage = null;
    this._hadError = false;
    this.req = null;
    /** Where all that belongs to the request runs: AsyncLocalStorage's enterWith() must not reach others. */
    this.scope = new AsyncResource('LIBGATEWAYREQUEST', MANUAL);
    // The answer: its head, 0 until there is one; what was written, and who is to be told.
    this.status = 0;
    this.flags = 0;
    this.reason = '';
    this.head = '';
    this.pieces = null;
    this.callbacks = null;
    this.isInterim = false;
    this.started = false;
    this.refused = false;
    this.ended = false;
    this.isEarly = false;
    this.isWhole = false;
    this.timer = null;
  }

  get remoteFamily() {
    return this.remoteAddress && (this.remoteAddress.includes(':') ? 'IPv6' : 'IPv4');
  }

  get localAddress() {
    return this.server.address()?.address;
  }

  get localPort() {
    return this.server.address()?.port;
  }

  get readableHighWaterMark() {
    return HIGH_WATER_MARK;
  }

  get writableHighWaterMark() {
    return HIGH_WATER_MARK;
  }

  address() {
    return this.server.address() ?? {};
  }

  setNoDelay() {
    return this;
  }

  setKeepAlive() {
    return this;
  }

  ref() {
    return this;
  }

  unref() {
    return this;
  }

  pause() {
    return this;
  }

  // ---- the body of the request ----

  /** IncomingMessage's _read: there is room. */
  resume() {
    const { req } = this;
    if (req === null || req._readableState.ended) return this;
    if (this.left === 0) {
      this.readAll();
      return this;
    }
    if (this.handle === 0) {
      req.destroy(failure('ECONNRESET', 'aborted'));
      return this;
    }
    const n = addon.request_read(this.handle, scratch);
    if (n > 0) {
      this.timer?.refresh();
      const piece = Buffer.from(scratch.subarray(0, n));
      if (this.left > 0) this.left -= n;
      if (this.left === 0) req.complete = true;
      req.push(piece);
      if (this.left === 0) this.readAll();
    } else if (n === 0) {
      this.readAll();
    } else if (n === 'GW_ERR_CLOSED') {
      this.gone();
    } else if (n !== -1) {
      req.destroy(failure(n, `the request's body: ${n}`));
    }
    return this;
  }

  /** Whether somebody reads the body, and has not seen its end; who has paused may never go on. */
  isRead() {
    const { req } = this;
    const { flowing, readableListening, pipes } = req._readableState;
    const goesOn = flowing === true || readableListening || pipes.length > 0; // a pipe pauses for a while
    return this.left !== 0 && goesOn && !req.destroyed && !req.complete;
  }

  readAll() {
    this.left = 0;
    this.req.complete = true;
    this.req.push(null);
    if (this.ended && this.handle !== 0) this.complete();
  }

  // ---- the answer ----

  /** Data of the body; or an interim response, which http's methods write as text. */
  write(data, encoding, callback) {
    if (this.isInterim) return this.interim(data, callback);
    if (callback) (this.callbacks ??= []).push(callback);
    if (data.length === 0) {
      if (!callback) this.flush(); // flushHeaders(); end() has a callback, which emits 'finish'
      return true;
    }
    if (typeof data === 'string' && encoding && encoding !== 'utf8' && encoding !== 'utf-8') {
      data = Buffer.from(data, encoding);
    }
    this.timer?.refresh();
    if (this.pieces === null) this.pieces = [data];
    else this.pieces.push(data);
    this.writableLength += data.length;
    if (this.writableCorked === 0 || this.writableLength >= HIGH_WATER_MARK) this.flush();
    return this.writableLength < HIGH_WATER_MARK && !this.refused;
  }

  interim(text, callback) {
    const status = Number(text.slice(9, 12));
    // 100 is sent by the library, when the body is read.
    if (status !== 100 && this.handle !== 0) {
      addon.answer_start(this.handle, status, 0, '', text.slice(text.indexOf('\r\n') + 2, -2));
    }
    if (callback) process.nextTick(callback);
    return true;
  }

  cork() {
    this.writableCorked++;
  }

  uncork() {
    if (inEnd.corked === 1) {
      // OutgoingMessage's end() has set that, and calls _finish() next, which sends all at once.
      inEnd.corked = 0;
      this.writableCorked = 0;
    } else if (this.writableCorked > 0 && --this.writableCorked === 0 && this.pieces !== null) {
      this.flush();
    }
  }

  /** Hands over what was written, as far as the library takes it. */
  flush() {
    if (this.handle === 0 || this.refused) return;
    if (!this.started) {
      this.started = true;
      const result = addon.answer_start(this.handle, this.status, this.flags, this.reason, this.head);
      if (result < 0) return this.cut(result);
      if (this.pieces === null) addon.answer_write(this.handle, NOTHING);
    }
    const { pieces } = this;
    let taken = 0;
    while (pieces !== null && taken < pieces.length) {
      const result = addon.answer_write(this.handle, pieces[taken]);
      if (result === AGAIN) {
        this.refused = true;
        break;
      }
      if (result < 0) return this.cut(result);
      this.writableLength -= pieces[taken].length;
      taken++;
    }
    if (taken > 0) this.timer?.refresh();
    if (this.refused) {
      this.pieces = pieces.slice(taken);
    } else {
      this.pieces = null;
      if (!this.ended) this.tell();
    }
  }

  /** Whoever waits for what was written; settle() does it for the rest. */
  tell() {
    const { callbacks } = this;
    if (callbacks === null) return;
    this.callbacks = null;
    for (const callback of callbacks) process.nextTick(callback);
  }

  /** There is room again. */
  drain() {
    if (this.handle === 0) return;
    this.refused = false;
    this.flush();
    if (this.refused || this.handle === 0) return;
    const res = this._httpMessage;
    if (this.ended) {
      this.complete();
    } else if (res[kNeedDrain]) {
      res[kNeedDrain] = false;
      res.emit('drain');
    }
  }

  /** end() was called. */
  finish() {
    if (this.handle === 0 || this.ended) return;
    this.ended = true;
    this.complete();
  }

  complete() {
    const { pieces } = this;
    if (this.isRead()) {
      // Who reads the body goes on, and the request ends when it has; the client has its answer before.
      if (!this.isEarly) {
        this.isEarly = true;
        this.isWhole = !this.started;
        if (this.isWhole) this.head += lengthOf(this.status, this.head, pieces);
        this.req.on('pause', () => {
          if (this.handle !== 0) this.complete();
        });
      }
      this.flush();
      if (this.isWhole && !this.refused) this.tell();
      return;
    }
    if (!this.started && (pieces === null || pieces.length === 1 || this.writableLength < HIGH_WATER_MARK)) {
      const body = pieces === null ? undefined : pieces.length === 1 ? pieces[0] : joined(pieces);
      addon.answer_reply(this.release(), this.status, this.flags, this.reason, this.head, body);
      this.pieces = null;
      this.writableLength = 0;
    } else {
      this.flush();
      if (this.refused || this.handle === 0) return; // drain() comes back here
      addon.answer_end(this.release(), 0);
    }
    this.server.settle(this);
  }

  /** The handle, which is about to be given up. */
  release() {
    const { handle } = this;
    this.handle = 0;
    this.server.forget(handle);
    return handle;
  }

  /** Whoever listens is told that the answer has gone; after it the request is over. */
  settle() {
    const res = this._httpMessage;
    const { req } = this;
    if (this.timer !== null) clearTimeout(this.timer);
    try {
      for (const callback of this.callbacks ?? []) callback();
      if (!req._consuming) {
        // As http does, so that 'end' and 'close' come; nobody would notice where nobody listens.
        this.left = 0;
        if (req._readableState.length > 0 || req._events.end || req._events.close || req._events.data) req._dump();
        else req.complete = true;
      }
    } finally {
      if (res !== null) {
        res.socket = null;
        this._httpMessage = null;
        res.destroyed = true;
        res._closed = true;
        res.emit('close');
      }
    }
  }

  // ---- its end ----

  /** The client has left. */
  gone() {
    if (this.destroyed) return;
    this.destroyed = true;
    this.readable = this.writable = false;
    if (this.timer !== null) clearTimeout(this.timer);
    if (this.handle !== 0) addon.answer_end(this.release(), ERR_CLOSED);
    const { req, callbacks, _httpMessage: res } = this;
    this._hadError = true; // end() looks at it: no 'finish'
    this.pieces = this.callbacks = null;
    this.writableLength = 0;
    for (const callback of callbacks ?? []) {
      process.nextTick(callback, failure('ERR_STREAM_DESTROYED', 'the client has left: this was not sent'));
    }
    process.nextTick(() => {
      try {
        this.emit('close');
      } finally {
        if (res !== null && !res._closed) {
          res.destroyed = true;
          res._closed = true;
          res.emit('close');
        }
      }
    });
    req.destroy(failure('ECONNRESET', 'aborted')); // tells 'aborted' at once, and whoever hears it may throw
  }

  /** The library has refused what was written: it has said why, in its log. */
  cut() {
    this.gone();
  }

  destroy() {
    if (!this.ended || this.handle !== 0) {
      this.gone();
    } else if (!this.destroyed) { // the answer is the library's: nothing of it is cut
      this.destroyed = true;
      process.nextTick(() => this.emit('close'));
    }
    return this;
  }

  end() {
    return this.destroy();
  }

  destroySoon() {
    return this.destroy();
  }

  setTimeout(ms, callback) {
    if (callback) this.once('timeout', callback);
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = ms > 0 && this.handle !== 0 ? setTimeout(() => this.late(), ms).unref() : null;
    return this;
  }

  late() {
    const heard = [this.req, this._httpMessage, this].filter((it) => it?.emit('timeout', this));
    if (heard.length === 0) this.destroy();
  }
}

// EventEmitter's methods, without what its constructor does for each: nearly no socket has listeners.
Object.setPrototypeOf(Socket.prototype, EventEmitter.prototype);

// What end() sets in the "stream" below it, to let go of all corks at once.
const inEnd = { corked: 0 };
Socket.prototype._writableState = inEnd;

function joined(pieces) {
  if (pieces.every((piece) => typeof piece === 'string')) return pieces.join('');
  return Buffer.concat(pieces.map((piece) => (typeof piece === 'string' ? Buffer.from(piece) : piece)));
}

/** The field that tells the length of all there is, where there is none yet and may be one. */
function lengthOf(status, head, pieces) {
  if (status === 204 || status === 304 || /^content-length:/im.test(head)) return '';
  let length = 0;
  for (const piece of pieces ?? []) length += Buffer.byteLength(piece);
  return field('Content-Length', length);
}

/**
 * A request that was taken: req and res, connected.
 * @param {string} text header fields (name, value ...), and then: method, target, protocol, address, port, scheme
 */
function begin(server, handle, length, hasBody, text) {
  const lines = text.split('\n');
  const scheme = lines.pop();
  const port = lines.pop();
  const peer = lines.pop();
  const protocol = lines.pop();
  const url = lines.pop();
  const method = lines.pop();
  const address = peer === 'unix:' ? undefined : peer; // as net.Socket's
  const socket = new Socket(server, handle, hasBody ? length : 0, address, Number(port) || undefined, scheme === 'https');
  const req = new http.IncomingMessage(socket);
  req.httpVersionMajor = protocol.charCodeAt(5) - 48;
  req.httpVersionMinor = protocol.length > 7 ? protocol.charCodeAt(7) - 48 : 0;
  req.httpVersion = protocol === 'HTTP/1.1' ? '1.1' : protocol.slice(5);
  req.url = url;
  req.method = method;
  req.upgrade = false;
  req._addHeaderLines(lines, lines.length);
  socket.req = req;
  const res = new http.ServerResponse(req);
  res._hasBody = true; // also for HEAD: the library sends the head that GET would have, and no body
  res._storeHeader = storeHeader;
  res._finish = finish;
  res.addTrailers = addTrailers;
  res.writeContinue = writeContinue;
  res.writeProcessing = writeProcessing;
  res.writeEarlyHints = writeEarlyHints;
  if (writeInformation) res.writeInformation = writeInformation;
  res.socket = socket;
  socket._httpMessage = res;
  return socket;
}

module.exports = { begin };
