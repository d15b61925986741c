'use strict';
// What the tests of workers start: node plain.js '{"bind": ..., "workers": 2}'

const gateway = require('../..');

const { exit, ...options } = JSON.parse(process.argv[2]);
const say = (name) => (details) => console.log(name, JSON.stringify(details));
const names = ['on_starting', 'pre_fork', 'spawned', 'worker_ready', 'child_exit', 'nworkers_changed', 'on_reload',
  'reloaded', 'on_exit', 'worker_exit'];

const pages = {
  '/': (req, res) => res.end('hello, world\n'),
  '/pid': (req, res) => res.end(String(process.pid)),
  '/slow': (req, res) => { console.log('slow began'); setTimeout(() => res.end('slow, but whole\n'), 500); },
  '/big': (req, res) => { res.write(Buffer.alloc(10_000_000)); setImmediate(() => console.log('big began')); },
  '/memory': (req, res) => { globalThis.gc(); res.end(JSON.stringify(process.memoryUsage())); },
  '/echo': (req, res) => { req.pipe(res); },
  '/crash': (req, res) => { setImmediate(() => { throw new Error('outside of any request'); }); },
  '/reject': async () => { throw new Error('a promise that was broken'); },
};

if (process.env.REFUSED === 'before it serves' && gateway.isWorker) throw new Error('this worker does not boot');

async function begins(details) {
  await new Promise((resolve) => { setTimeout(resolve, 50); }); // as what connects to a database
  if (process.env.REFUSED === 'in its promise') throw new Error('this worker does not boot');
  if (process.env.REFUSED === 'for ever') await new Promise(() => {});
  ready = true;
  say('worker_init')(details);
}

let ready = false;
const served = gateway.serve((req, res) => (ready ? pages[req.url](req, res) : res.writeHead(503).end()), {
  ...options,
  exit,
  hooks: {
    ...Object.fromEntries(names.map((name) => [name, say(name)])),
    worker_init(details) {
      if (process.env.REFUSED === 'in its hook') throw new Error('this worker does not boot');
      return begins(details);
    },
    when_ready(details, arbiter) {
      console.log('when_ready', JSON.stringify(arbiter.address()), arbiter.stats().workers);
      process.on('SIGWINCH', () => console.log('stats', JSON.stringify(arbiter.stats())));
    },
  },
});
served.on('close', () => console.log('closed'));
setInterval(() => {}, 1000); // as a pool of connections would, this keeps Node's loop alive
