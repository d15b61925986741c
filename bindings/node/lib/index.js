'use strict';
// Express, and any (req, res) handler, on libgateway.  lib/index.d.ts has the types.

const { addon } = require('./addon');
const { Server } = require('./server');
const { serve, Arbiter } = require('./serve');

/** As http.createServer: the options, which may be missing, are those of the library. */
function createServer(options, handler) {
  return typeof options === 'function' ? new Server({}, options) : new Server(options ?? {}, handler);
}

/** An AbortSignal for the work on a request: it is aborted when the client leaves before its answer has ended. */
function abortSignal(res) {
  const controller = new AbortController();
  if (res.destroyed && !res.writableEnded) controller.abort();
  else res.once('close', () => { if (!res.writableEnded) controller.abort(); });
  return controller.signal;
}

/** The CGI variables of a request (SCRIPT_NAME, PATH_INFO, uwsgi_param ...), until it is answered. */
function environ(req) {
  const list = addon.request_variables(req.socket.handle);
  const all = {};
  for (let i = 0; i < list.length; i += 2) all[list[i]] = list[i + 1];
  return all;
}

const { version } = addon;
const options = addon.options();
/** Whether this process was started by an arbiter to be its worker. */
const isWorker = addon.is_worker;

// Names alone: `import { isWorker }` knows what it can find here without running it.
module.exports = { createServer, serve, Server, Arbiter, abortSignal, environ, options, version, isWorker };
