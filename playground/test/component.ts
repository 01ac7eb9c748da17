// What the page runs is the shipped component: its bytes are those that are checked in, and the core modules that the
// page cuts out of them are those that jco takes.

import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { coreModules, unpack } from '../src/embedded.ts';

const [shipped = '', generated = ''] = process.argv.slice(2);

const { bytes } = await unpack();
assert.deepEqual(Buffer.from(bytes), readFileSync(shipped));
const names = readdirSync(generated).filter((name) => name.endsWith('.wasm'));
const modules = coreModules(bytes);
assert.equal(modules.length, names.length);
modules.forEach((module, at) => {
  const name = `kvlock.core${at === 0 ? '' : at + 1}.wasm`;
  assert.deepEqual(Buffer.from(module), readFileSync(join(generated, name)), name);
});
