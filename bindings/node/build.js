'use strict';
// Compiles build/gateway.node:  node build.js  (--check: only whether this Node is new enough)
//
// It needs a C compiler, libgateway and its header, and Node's headers with libuv's: those beside this
// Node, or else the package node-api-headers and the system's libuv (libuv1-dev).
//
//   GATEWAY_LIBRARY_DIR, GATEWAY_INCLUDE_DIR   where libgateway is, unless pkg-config knows it
//   CC, CFLAGS                                 the compiler

const { execFileSync } = require('node:child_process');
const fs = require('node:fs');
const path = require('node:path');

const FLOOR = 18;
const here = __dirname;

function headers() {
  const beside = path.resolve(process.execPath, '../../include/node');
  if (fs.existsSync(path.join(beside, 'node_api.h')) && fs.existsSync(path.join(beside, 'uv.h'))) {
    return [beside];
  }
  let found;
  try {
    found = [require('node-api-headers').include_dir];
  } catch {
    throw new Error("Node's headers are missing: npm install node-api-headers, or Node with its headers");
  }
  if (!fs.existsSync('/usr/include/uv.h')) {
    throw new Error("libuv's headers are missing: install libuv1-dev, or Node with its headers");
  }
  return found;
}

function library() {
  const there = process.env.GATEWAY_LIBRARY_DIR;
  const checkout = path.resolve(here, '../../include');
  const include = process.env.GATEWAY_INCLUDE_DIR || (fs.existsSync(checkout) ? checkout : '');
  if (there) {
    return [...(include ? [`-I${include}`] : []), `-L${there}`, `-Wl,-rpath,${path.resolve(there)}`, '-lgateway'];
  }
  const flags = execFileSync('pkg-config', ['--cflags', '--libs', 'gateway'], { encoding: 'utf8' });
  return flags.trim().split(/\s+/);
}

function main() {
  if (Number(process.versions.node.split('.')[0]) < FLOOR) {
    throw new Error(`Node ${process.versions.node} is too old: libgateway needs ${FLOOR} or newer`);
  }
  if (process.argv[2] === '--check') return;
  const sources = fs.readdirSync(path.join(here, 'src')).filter((name) => name.endsWith('.c'));
  fs.mkdirSync(path.join(here, 'build'), { recursive: true });
  execFileSync(process.env.CC || 'cc', [
    '-std=c11', '-D_GNU_SOURCE', '-O2', '-g', '-Wall', '-Wextra', '-Werror', '-shared', '-fPIC', '-fvisibility=hidden',
    ...(process.env.CFLAGS ? process.env.CFLAGS.split(/\s+/) : []),
    ...headers().flatMap((dir) => ['-isystem', dir]),
    ...sources.map((name) => path.join(here, 'src', name)),
    ...library(),
    '-o', path.join(here, 'build/gateway.node'),
  ], { stdio: 'inherit' });
}

try {
  main();
} catch (error) {
  console.error(`libgateway: ${error.message}`);
  process.exitCode = 1;
}
