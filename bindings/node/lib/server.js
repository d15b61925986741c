'use strict';
// A server in Node's loop, as http.Server is one.

const { EventEmitter, captureRejectionSymbol } = require('node:events');
const {
  addon, failure, pairsOf, addressesOf, BATCH, READABLE, WRITABLE, STOP_GRACEFUL, STOP_QUICK,
} = require('./addon');
const { begin } = require('./exchange');

/** What is different from the presets of the library. */
const PRESETS = { request_buffering: false, errorlog: '-' };

/** Where listen() is told to listen, as the option `bind` has it; undefined: it is not told. */
function bindOf([first, second]) {
  if (first === undefined || first === null || typeof first === 'function') return undefined;
  if (typeof first === 'number' || /^\d+$/.test(first)) {
    const host = typeof second === 'string' ? second : '';
    return `${host.includes(':') ? `[${host}]` : host}:${first}`;
  }
  if (typeof first === 'string') {
    return /^(?![./])(?:(?:[a-z\d-]+(?:\+|:\/\/))?(?:unix|fd|systemd):|.*:\d)/i.test(first) ? first : `unix:${first}`;
  }
  if (first.path !== undefined) return bindOf([first.path]);
  if ('port' in Object(first)) return bindOf([first.port ?? 0, first.host]);
  throw failure('GW_ERR_INVALID', 'listen: neither a port nor a path');
}

class Server extends EventEmitter {
  #options;
  #server = null;
  #numbers = new Float64Array(BATCH * 5);
  #live = new Map(); // the sockets of requests that were not answered at once, by their handles
  #settled = [];
  #closing = false;
  #keeps = true;

  /**
   * @param {object} options those of the library, by their names (docs/options.md)
   * @param {import('node:http').RequestListener} [handler]
   */
  constructor(options, handler) {
    super({ captureRejections: true });
    this.#options = { ...PRESETS, ...options };
    if (handler) this.on('request', handler);
    this.on('newListener', (name) => {
      if (name === 'upgrade' || name === 'connect') {
        throw failure('GW_ERR_UNSUPPORTED', `'${name}': upgrades are not supported: a connection cannot be handed over`);
      }
    });
  }

  get listening() {
    return this.#server !== null && !this.#closing;
  }

  /** listen(port, [host]), listen(path), listen({ port, host, path }); or where the option `bind` says, or on any port. */
  listen(...args) {
    const callback = args.findLast((arg) => typeof arg === 'function');
    if (this.#server !== null) throw failure('GW_ERR_STATE', 'listen: this server listens already');
    const bind = bindOf(args) ?? this.#options.bind ?? ':0';
    if (callback) this.once('listening', callback);
    let server;
    try {
      server = addon.server_new(pairsOf({ ...this.#options, bind }));
    } catch (error) {
      process.nextTick(() => this.emit('error', error));
      return this;
    }
    this.watch(server);
    process.nextTick(() => this.emit('listening'));
    return this;
  }

  /** Serves with a server of the library's; of a worker this is how it begins. */
  watch(server) {
    this.#server = server;
    this.#closing = false;
    addon.server_poll(server, this.#numbers, (n, texts, m) => this.#batch(n, texts, m), (why) => this.#end(why));
    addon.server_ref(server, this.#keeps);
  }

  /** Requests that are there are answered; then 'close'. */
  close(callback) {
    if (callback) {
      if (this.#server !== null) this.once('close', callback);
      else process.nextTick(callback, failure('ERR_SERVER_NOT_RUNNING', 'Server is not running.'));
    }
    this.#closing = true;
    if (this.#server !== null) addon.server_stop(this.#server, STOP_GRACEFUL);
    return this;
  }

  /** Connections are closed where they stand; the server ends. */
  closeAllConnections() {
    this.#closing = true;
    if (this.#server !== null) addon.server_stop(this.#server, STOP_QUICK);
  }

  /** The server lets go of them by itself when it closes. */
  closeIdleConnections() {}

  setTimeout() {
    return this;
  }

  /** @returns as net.Server's; of several addresses the first */
  address() {
    return this.addresses()[0] ?? null;
  }

  addresses() {
    return this.#server !== null ? addressesOf(addon.server_listeners(this.#server)) : [];
  }

  /** The counters of this server (gw_stats). */
  stats() {
    if (this.#server === null) throw failure('GW_ERR_STATE', 'stats: this server does not run');
    return addon.server_stats(this.#server);
  }

  ref() {
    return this.#keep(true);
  }

  unref() {
    return this.#keep(false);
  }

  /** Whether Node's loop goes on for it: also of what listens later. */
  #keep(keeps) {
    this.#keeps = keeps;
    if (this.#server !== null) addon.server_ref(this.#server, keeps);
    return this;
  }

  async [Symbol.asyncDispose ?? Symbol('Symbol.asyncDispose')]() {
    if (this.#server !== null) await new Promise((resolve) => { this.close(resolve); });
  }

  // ---- requests ----

  #batch(requests, texts, events) {
    const numbers = this.#numbers;
    const begun = [];
    for (let i = 0; i < requests; i++) {
      const handle = numbers[i * 3];
      try {
        begun.push(begin(this, handle, numbers[i * 3 + 1], numbers[i * 3 + 2] !== 0, texts[i]));
      } catch (error) {
        addon.answer_fail(handle, String(error.stack)); // there was no memory for its text
      }
    }
    const happened = events > 0 ? numbers.slice(BATCH * 3, BATCH * 3 + events * 2) : undefined;
    for (const socket of begun) {
      const { req, _httpMessage: res } = socket;
      try {
        socket.scope.runInAsyncScope(this.emit, this, 'request', req, res);
      } catch (error) {
        this.#failed(socket, error);
      }
      if (socket.handle !== 0) this.#live.set(socket.handle, socket);
    }
    for (let i = 0; i < events; i++) this.#event(this.#live.get(happened[i * 2]), happened[i * 2 + 1]);
  }

  #event(socket, what) {
    if (socket === undefined) return;
    this.#tell(socket, what === READABLE ? socket.resume : what === WRITABLE ? socket.drain : socket.gone);
  }

  /** What a listener throws is the process's; the other requests hear of their own nevertheless. */
  #tell(socket, method) {
    try {
      socket.scope.runInAsyncScope(method, socket);
    } catch (error) {
      process.nextTick(() => { throw error; });
    }
  }

  [captureRejectionSymbol](error, name, ...args) {
    const socket = name === 'request' ? args[1].socket : null;
    this.#failed(socket, error);
  }

  /** The handler has failed: a line in the log, and a 500.  After its answer the error is the process's. */
  #failed(socket, error) {
    if (socket === null || socket.handle === 0) {
      process.nextTick(() => { throw error; });
      return;
    }
    addon.answer_fail(socket.release(), String(error?.stack ?? error));
    this.#tell(socket, socket.gone);
  }

  // ---- for sockets ----

  forget(handle) {
    this.#live.delete(handle);
  }

  settle(socket) {
    if (this.#settled.push(socket) > 1) return;
    process.nextTick(() => {
      const settled = this.#settled;
      this.#settled = [];
      for (const one of settled) this.#tell(one, one.settle);
    });
  }

  #end(why) {
    this.#server = null;
    for (const socket of [...this.#live.values()]) this.#tell(socket, socket.gone);
    if (why !== undefined) this.emit('error', failure(why, `the server has ended: ${why}`));
    this.emit('close');
  }
}

module.exports = { Server, PRESETS };
