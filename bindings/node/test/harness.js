'use strict';
// Servers, clients, programs and nginx for the tests.  Whoever waits here waits for something, with a deadline.

const { spawn } = require('node:child_process');
const fs = require('node:fs');
const http = require('node:http');
const net = require('node:net');
const os = require('node:os');
const path = require('node:path');
const { once } = require('node:events');
const { setTimeout: sleep } = require('node:timers/promises');
const gateway = require('..');

const DEADLINE = 30_000;

async function until(what, condition) {
  const end = Date.now() + DEADLINE;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`not within ${DEADLINE} ms: ${what}`);
    await sleep(5);
  }
}

/** A server of this process, until the test ends. */
async function serving(t, handler, options = {}) {
  const server = gateway.createServer({ errorlog: '/dev/null', ...options }, handler);
  if (options.bind) server.listen();
  else server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => new Promise((resolve) => {
    server.close(resolve);
    server.closeAllConnections();
  }));
  return server;
}

/** One request on a connection of its own, or of `agent`: status, headers, body, and trailers' end. */
function ask(port, options = {}, body = undefined) {
  return new Promise((resolve, reject) => {
    const hints = [];
    const where = typeof port === 'number' ? { host: '127.0.0.1', port } : { socketPath: port };
    const request = http.request({ agent: false, ...where, ...options }, (answer) => {
      const pieces = [];
      answer.on('data', (piece) => pieces.push(piece));
      answer.on('error', reject);
      answer.on('end', () => {
        const octets = Buffer.concat(pieces);
        resolve({ status: answer.statusCode, reason: answer.statusMessage, headers: answer.headers, raw: answer.rawHeaders,
          octets, body: octets.toString(), hints });
      });
    });
    request.on('information', (info) => hints.push(info));
    request.on('error', reject);
    if (typeof body === 'function') body(request);
    else request.end(body);
  });
}

/** A connection on which octets are sent and read as they are. */
async function raw(port) {
  const socket = net.connect(port, '127.0.0.1');
  await once(socket, 'connect');
  let text = '';
  socket.setEncoding('latin1');
  socket.on('data', (piece) => { text += piece; });
  socket.on('error', () => {});
  return {
    socket,
    send: (octets) => socket.write(octets),
    text: () => text,
    until: (what) => until(`${what} in ${JSON.stringify(text)}`, () => text.includes(what)),
    end: () => until('the end', () => socket.readableEnded || socket.destroyed),
  };
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** A program that is started here, and ended when the test is. */
class Program {
  constructor(t, command, args, env = {}) {
    this.said = '';
    this.child = spawn(command, args, { env: { ...process.env, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
    this.ended = once(this.child, 'exit').then(([status, signal]) => { this.status = status ?? signal; return this.status; });
    for (const stream of [this.child.stdout, this.child.stderr]) stream.on('data', (text) => { this.said += text; });
    t.after(async () => {
      if (this.status === undefined) this.child.kill('SIGTERM');
      const late = setTimeout(() => this.child.kill('SIGKILL'), DEADLINE);
      await this.ended;
      clearTimeout(late);
    });
  }

  get pid() {
    return this.child.pid;
  }

  kill(signal) {
    process.kill(this.pid, signal);
  }

  until(what) {
    return until(`${what} of:\n${this.said}`, () => {
      if (this.status !== undefined && !this.said.includes(what)) throw new Error(`it has ended:\n${this.said}`);
      return this.said.includes(what);
    });
  }

  count(what) {
    return this.said.split(what).length - 1;
  }
}

/** A program that ends with gateway.serve, as test/apps has them; it says "ready" when its workers are. */
async function program(t, name, options = {}, flags = []) {
  const port = await freePort();
  const args = [...flags, path.join(__dirname, 'apps', name), JSON.stringify({ bind: `127.0.0.1:${port}`, ...options })];
  const it = new Program(t, process.execPath, args);
  it.port = port;
  return it;
}

function temporary(t) {
  const dir = fs.mkdtempSync(path.join(os.tmpdir(), 'gateway-'));
  t.after(() => fs.rmSync(dir, { recursive: true }));
  return dir;
}

const PARAMS = {
  REQUEST_METHOD: '$request_method', REQUEST_URI: '$request_uri', PATH_INFO: '$uri', SCRIPT_NAME: '""',
  QUERY_STRING: '$query_string', CONTENT_TYPE: '$content_type', CONTENT_LENGTH: '$content_length',
  SERVER_PROTOCOL: '$server_protocol', SERVER_NAME: '$server_name', SERVER_PORT: '$server_port',
  REMOTE_ADDR: '$remote_addr', REMOTE_PORT: '$remote_port', REQUEST_SCHEME: '$scheme',
};

/** nginx in front of sockets of ours: its own, by the protocol behind it. */
async function nginx(t, behind) {
  const dir = temporary(t);
  const params = (kind) => Object.entries(PARAMS).map((pair) => `${kind}_param ${pair.join(' ')};`).join('\n');
  const passes = {
    http: () => `proxy_pass http://app_http; proxy_http_version 1.1; proxy_set_header Connection "";
                 proxy_set_header Host $http_host; proxy_set_header X-Forwarded-For $remote_addr;`,
    uwsgi: () => `uwsgi_pass app_uwsgi; ${params('uwsgi')}`,
    fastcgi: () => `fastcgi_pass app_fastcgi; fastcgi_keep_conn on; ${params('fastcgi')}`,
  };
  const sockets = {};
  let servers = '';
  for (const [protocol, to] of Object.entries(behind)) {
    sockets[protocol] = path.join(dir, `${protocol}.front`);
    servers += `upstream app_${protocol} { server ${to}; keepalive 8; }
      server { listen unix:${sockets[protocol]}; location / { ${passes[protocol]()} } }\n`;
  }
  const temp = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${dir}/${kind};`);
  fs.writeFileSync(path.join(dir, 'nginx.conf'), `
    daemon off; pid ${dir}/pid; error_log stderr; worker_processes 1;
    ${process.getuid() === 0 ? 'user root;' : ''}
    events { worker_connections 256; }
    http { access_log off; client_max_body_size 0; ${temp.join(' ')}\n${servers} }`);
  const target = process.env.TARGET || path.resolve(__dirname, '../../../target');
  const where = [...process.env.PATH.split(':'), '/usr/sbin', path.join(target, 'peers/usr/sbin')];
  const found = where.map((one) => path.join(one, 'nginx')).find((one) => fs.existsSync(one));
  if (!found) throw new Error('no nginx: run scripts/setup nginx');
  const it = new Program(t, found, ['-p', dir, '-c', path.join(dir, 'nginx.conf'), '-e', 'stderr']);
  await until('nginx listens', () => {
    if (it.status !== undefined) throw new Error(it.said);
    return Object.values(sockets).every((one) => fs.existsSync(one));
  });
  return sockets;
}

module.exports = { ask, freePort, nginx, Program, program, raw, serving, temporary, until, DEADLINE };
