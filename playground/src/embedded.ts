// The shipped component, byte for byte, and the core modules in it. The page carries the component compressed, as text,
// so that it also opens from a folder: a browser lets no page read the files beside it there.

import { COMPONENT } from '../generated/component.js';
import type { CoreModules } from './sim/component.ts';

/** The section of a component that has a core module. */
const CORE_MODULE = 1;
const PREAMBLE = 8;

/** The component, and what runs of it. */
export type Embedded = { bytes: Uint8Array<ArrayBuffer>; digest: string; modules: CoreModules };

/** Unpacks the component, and compiles its core modules. */
export async function unpack(): Promise<Embedded> {
  const packed = Uint8Array.from(atob(COMPONENT), (character) => character.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream('gzip'));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const compiled = await Promise.all(coreModules(bytes).map((module) => WebAssembly.compile(module)));
  return { bytes, digest: await digestOf(bytes), modules: (path) => at(compiled, path) };
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
