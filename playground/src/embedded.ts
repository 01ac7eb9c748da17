// The shipped component, byte for byte, the core modules in it, and what jco made to call them. The page carries all of
// it compressed, as text: so it is small, and it opens from a folder too, where a browser lets no page read the files
// beside it.

import type { instantiate } from '../generated/kvlock.js';
import { COMPONENT, GLUE } from '../generated/packed.js';
import { type CoreModules, Instances } from './sim/component.ts';

/** The section of a component that has a core module. */
const CORE_MODULE = 1;
const PREAMBLE = 8;

/** The component, and what makes instances of it. */
export type Embedded = { bytes: Uint8Array<ArrayBuffer>; digest: string; instances: Instances };

/** Unpacks the component, and compiles its core modules. */
export async function unpack(): Promise<Embedded> {
  const [bytes, glue] = await Promise.all([COMPONENT, GLUE].map(inflate));
  if (!bytes || !glue) throw new Error('INVARIANT: there is an answer for each text');
  const compiled = await Promise.all(coreModules(bytes).map((module) => WebAssembly.compile(module)));
  const modules: CoreModules = (path) => at(compiled, path);
  const address = `data:text/javascript,${encodeURIComponent(new TextDecoder().decode(glue))}`;
  const made: { instantiate: typeof instantiate } = await import(address);
  return { bytes, digest: await digestOf(bytes), instances: new Instances(modules, made.instantiate) };
}

async function inflate(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = Uint8Array.from(atob(text), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Returns the core modules that a component consists of, in their order. */
export function coreModules(component: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const modules = [];
  let offset = PREAMBLE;
  while (offset < component.length) {
    const id = component[offset];
    const [size, start] = readLength(component, offset + 1);
    if (id === CORE_MODULE) modules.push(component.subarray(start, start + size));
    offset = start + size;
  }
  return modules;
}

/** jco names them `kvlock.core.wasm`, `kvlock.core2.wasm` and so on. */
function at(modules: WebAssembly.Module[], path: string): WebAssembly.Module {
  const number = Number(/core(\d*)\.wasm$/.exec(path)?.[1] || 1);
  const module = modules[number - 1];
  if (!module) throw new Error(`the component has no core module ${path}`);
  return module;
}

/** Reads a number in LEB128, and returns where it ends. */
function readLength(bytes: Uint8Array, from: number): [number, number] {
  let value = 0;
  for (let at = from, shift = 0; ; at++, shift += 7) {
    const byte = bytes[at] ?? 0;
    value |= (byte & 0x7f) << shift;
    if (byte < 0x80) return [value >>> 0, at + 1];
  }
}

/** The SHA-256 in hexadecimal digits; a page without a secure context cannot compute it. */
async function digestOf(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  if (!globalThis.crypto?.subtle) return '';
  const digest = await crypto.subtle.digest('SHA-256', bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
