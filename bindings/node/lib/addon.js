'use strict';
// The compiled half, and what both halves agree on (include/gateway.h).

const fs = require('node:fs');
const path = require('node:path');
const { isMainThread } = require('node:worker_threads');

/** @returns {Error & {code: string}} */
function failure(code, text) {
  return Object.assign(new Error(text), { code });
}

if (!isMainThread) {
  throw failure('GW_ERR_UNSUPPORTED', 'libgateway serves in the main thread: worker threads have no signals and no exec');
}

const root = path.join(__dirname, '..');

if (!fs.existsSync(path.join(root, 'build/gateway.node'))) {
  throw failure('GW_ERR_UNSUPPORTED', `libgateway is not compiled: run node ${path.join(root, 'build.js')}`);
}

const addon = require('../build/gateway.node');

const AGAIN = 1;
const ERR_CLOSED = -11;
const RESPONSE_CLOSE = 4;
const STOP_GRACEFUL = 0;
const STOP_QUICK = 1;
const READABLE = 1;
const WRITABLE = 2;
const BATCH = 64; // requests, and events, of one crossing

/** Options as gw_config_set takes them: [name, value, name, value ...]. */
function pairsOf(options) {
  const pairs = [];
  for (const [name, value] of Object.entries(options)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one === undefined || one === null) continue;
      pairs.push(name, one === true ? '1' : one === false ? '0' : String(one));
    }
  }
  return pairs;
}

/** Of [address, port, protocol ...]: as net.Server's address() has it; a path for a unix socket. */
function addressesOf(listeners) {
  const all = [];
  for (let i = 0; i < listeners.length; i += 3) {
    const [text, port] = [listeners[i], listeners[i + 1]];
    if (text.startsWith('unix:')) {
      all.push(text.slice(5));
    } else {
      const address = text.slice(0, text.lastIndexOf(':')).replace(/^\[|\]$/g, '');
      all.push({ address, family: address.includes(':') ? 'IPv6' : 'IPv4', port });
    }
  }
  return all;
}

module.exports = {
  addon, failure, pairsOf, addressesOf, AGAIN, ERR_CLOSED, RESPONSE_CLOSE, STOP_GRACEFUL, STOP_QUICK, READABLE, WRITABLE, BATCH,
};
