'use strict';
// The arbiter and its workers: this program, started again (worker_model=exec).

const { EventEmitter } = require('node:events');
const { constants } = require('node:os');
const { addon, failure, pairsOf, addressesOf, STOP_GRACEFUL, STOP_QUICK } = require('./addon');
const { Server, PRESETS } = require('./server');

/** What a signal means is gw_arbiter_signal's business. */
const SIGNALS = ['SIGTERM', 'SIGINT', 'SIGQUIT', 'SIGHUP', 'SIGTTIN', 'SIGTTOU', 'SIGUSR1', 'SIGUSR2'];

const HOOKS = new Set([
  'on_starting', 'when_ready', 'pre_fork', 'spawned', 'worker_ready', 'child_exit', 'nworkers_changed', 'on_reload',
  'reloaded', 'on_exit', 'pre_exec', 'worker_init', 'worker_exit',
]);

/** A worker whose program fails before it serves has not booted: 3, as gunicorn has it. */
const NOT_BOOTED = 3;
const CAUSE_BOOT = 2; // boot_timeout

/** Who watches the workers.  Hooks are also events, by the same names. */
class Arbiter extends EventEmitter {
  #handlers = [];
  #isReady = false;
  #failure = 0;

  constructor(options, hooks, signals, exit) {
    super();
    this.isWorker = false;
    addon.arbiter_new(pairsOf(options), (name, details) => {
      // One of the first workers did not boot: the arbiter ends as it has.
      if (name === 'when_ready') this.#isReady = true;
      if (name === 'child_exit' && !this.#isReady) {
        this.#failure ||= details.cause === CAUSE_BOOT ? NOT_BOOTED : details.exit_status >> 8;
      }
      hooks[name]?.(details, this);
      this.emit(name, details);
    });
    addon.arbiter_start((why) => this.#end(why, exit));
    for (const name of signals ? SIGNALS : []) {
      const handler = () => addon.arbiter_signal(constants.signals[name]);
      process.on(name, handler);
      this.#handlers.push([name, handler]);
    }
  }

  /** New workers in the places of the old ones, with no request lost; the hook `reloaded` tells the end. */
  reload() {
    addon.arbiter_signal(constants.signals.SIGHUP);
  }

  /** The program is started again beside this one (USR2). */
  upgrade() {
    addon.arbiter_signal(constants.signals.SIGUSR2);
  }

  /** From now on there are to be so many workers. */
  scale(workers) {
    addon.arbiter_scale(workers);
  }

  /** Requests that are there are answered first, unless it is to be quick. */
  close({ quick = false } = {}) {
    addon.arbiter_stop(quick ? STOP_QUICK : STOP_GRACEFUL);
  }

  /** The counters of all workers (gw_stats). */
  stats() {
    return addon.arbiter_stats();
  }

  address() {
    return this.addresses()[0] ?? null;
  }

  addresses() {
    return addressesOf(addon.arbiter_listeners());
  }

  #end(why, exit) {
    for (const [name, handler] of this.#handlers) process.off(name, handler);
    this.emit('close', why);
    leave(exit, why === undefined ? this.#failure : 1);
  }
}

/** The process was there to serve: what else keeps Node's loop alive (a pool of connections) must not. */
function leave(exit, status) {
  if (exit) process.exit(process.exitCode || status);
}

let hasBegun = false;

if (addon.is_worker) {
  process.on('exit', (status) => {
    if (!hasBegun && status === 1) process.exitCode = NOT_BOOTED;
  });
}

function work(handler, options, hooks, exit) {
  const server = new Server(options, handler);
  const about = { pid: process.pid, slot: 0, generation: 0 };
  server.isWorker = true;
  let isAccepted = false;
  const onInit = async (slot, generation) => {
    Object.assign(about, { slot, generation });
    try {
      await hooks.worker_init?.(about, server);
      isAccepted = true;
    } catch (error) {
      console.error(error);
    }
    addon.work_begin(isAccepted);
  };
  const onRun = (handle) => {
    hasBegun = true;
    server.watch(handle);
    server.emit('listening');
  };
  const onEnd = (status, why) => {
    if (status !== 0 && why !== '') console.error(`libgateway: ${why}`);
    if (isAccepted) hooks.worker_exit?.(about, server);
    leave(exit, status);
  };
  addon.work(pairsOf(options), onInit, onRun, onEnd);
  return server;
}

/**
 * Serves with an arbiter and workers.  In the process that was called this is the arbiter, and returns it; in
 * the workers that it starts, which run the same program from its beginning, this is the worker, and returns
 * its Server.  Either process ends when serving has (`exit: false`: it does not).
 *
 * @param {import('node:http').RequestListener} handler
 * @param {object} [options] those of the library, by their names (docs/options.md), and `hooks`, `exit`
 */
function serve(handler, { hooks = {}, exit = true, signals = true, ...options } = {}) {
  if (typeof handler !== 'function') throw failure('GW_ERR_INVALID', 'serve: the handler is not a function');
  const unknown = Object.keys(hooks).find((name) => !HOOKS.has(name));
  if (unknown) throw failure('GW_ERR_UNKNOWN', `serve: there is no hook '${unknown}'`);
  const all = { bind: '127.0.0.1:8000', ...PRESETS, ...options, worker_model: 'exec', signals: false };
  return addon.is_worker ? work(handler, all, hooks, exit) : new Arbiter(all, hooks, signals, exit);
}

module.exports = { serve, Arbiter };
