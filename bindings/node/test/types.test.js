'use strict';
// lib/index.d.ts goes with @types/node and Express's types.

const assert = require('node:assert/strict');
const path = require('node:path');
const { test } = require('node:test');
const ts = require('typescript');

test('a program in TypeScript', () => {
  const file = path.join(__dirname, 'apps/typed.ts');
  const program = ts.createProgram([file], {
    strict: true, noEmit: true, module: ts.ModuleKind.Node16, moduleResolution: ts.ModuleResolutionKind.Node16,
    target: ts.ScriptTarget.ES2022, lib: ['lib.es2022.d.ts', 'lib.esnext.disposable.d.ts'], skipLibCheck: true, types: ['node'],
  });
  const said = ts.getPreEmitDiagnostics(program).map((it) => ts.flattenDiagnosticMessageText(it.messageText, '\n'));
  assert.deepEqual(said, []);
});
