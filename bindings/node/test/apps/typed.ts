import express = require('express');
import gateway = require('../..');

const app = express();
const server: gateway.Server = gateway.createServer({ keepalive: '5s' }, app);
server.listen(process.env.PORT ?? 8000);
server.listen({ port: process.env.PORT, host: 'localhost' }, () => {});
server.listen(8000, '127.0.0.1', () => console.log(server.address(), server.stats().requests));

const served = gateway.serve(app, {
  bind: ['127.0.0.1:8000', 'uwsgi+unix:/run/app.sock'],
  workers: 4,
  hooks: {
    child_exit: (worker, arbiter) => console.log(worker.pid, arbiter.stats().workers),
    worker_init: async (worker, of) => console.log(worker.slot, of.addresses()),
  },
});
if (!served.isWorker) (served as gateway.Arbiter).scale(2);

app.get('/', async (req, res) => {
  const signal: AbortSignal = gateway.abortSignal(res);
  res.send([gateway.environ(req).PATH_INFO, signal.aborted]);
});

// @ts-expect-error there is no such hook
gateway.serve(app, { hooks: { worker_there: () => {} } });
