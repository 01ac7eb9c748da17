// The lock component in a JavaScript engine: made a module of JavaScript by jco, linked to a store and a clock.

import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { transpile, writeFiles } from '@bytecodealliance/jco-transpile';

const SECOND = 1_000_000_000n;

// Gives a function that opens sessions, each in an instance of its own. A real host transpiles when it is built.
export async function load(wasm, outDir, kv, clock) {
  const { files } = await transpile(wasm, { outDir, name: 'kvlock', instantiation: 'async' });
  await writeFiles(files);
  const { instantiate } = await import(pathToFileURL(join(outDir, 'kvlock.js')));
  const core = async (path) => WebAssembly.compile(await readFile(join(outDir, path)));
  return async (owner) => {
    const component = await instantiate(core, imports(kv, clock));
    return new Session(component, component.mutex.Session.open(options(owner)), clock);
  };
}

function imports(kv, clock) {
  class Pollable {
    constructor(due) {
      this.due = due;
    }
    block() {
      const left = this.due - clock.now();
      if (left > 0n) clock.sleep(left);
    }
  }
  return {
    'kvlock:lock/kv-store': kv.functions,
    'wasi:clocks/monotonic-clock': {
      now: clock.now,
      subscribeDuration: (pause) => new Pollable(clock.now() + pause),
    },
    'wasi:io/poll': { Pollable },
    'wasi:random/random': { getRandomU64: () => randomBytes(8).readBigUInt64LE() },
  };
}

function options(owner) {
  const unixTime = BigInt(Date.now()) * 1_000_000n;
  return { owner, label: 'node', namespace: 'kvlock', quarantine: undefined, unixTime };
}

// An owner of locks and permits: `mutex.session`. The grants that it gives are the component's own objects.
class Session {
  constructor({ semaphore, conflictRetry }, session, clock) {
    Object.assign(this, { semaphore, conflictRetry, session, clock });
  }

  // Acquires the lock, waiting as long as `wait` allows; in seconds.
  lock(key, { wait, lease = 30, reentrant = false } = {}) {
    const acquisition = this.session.lock(key, {
      mode: reentrant ? 'reentrant' : 'plain',
      lease: after(lease),
      ...patience(wait),
      adopt: false,
      atLeast: 0n,
    });
    return acquisition.block();
  }

  // Acquires several keys at once, all or none, as one grant: whatever their order, nobody waits in a circle.
  lockAll(keys, { wait, lease = 30 } = {}) {
    const options = { mode: 'plain', lease: after(lease), ...patience(wait), adopt: false, atLeast: 0n };
    return this.session.lockAll(keys, options).block();
  }

  // Makes a semaphore, or gives it another size; the size before, or undefined.
  make(name, permits, { wait } = {}) {
    return this.semaphore.make(this.session, name, permits, patience(wait)).block();
  }

  // Acquires a permit of a semaphore, waiting as long as `wait` allows.
  permit(name, { wait, lease = 30 } = {}) {
    return this.semaphore.acquire(this.session, name, { lease: after(lease), ...patience(wait) }).block();
  }

  // All semaphores, with name, size and holders.
  semaphores() {
    return this.semaphore.list(this.session);
  }

  // Runs `work` until it answers `committed` or `failed`; a `conflict` is tried again, before other waiters.
  retry(key, work, { tries = 3 } = {}) {
    const options = { lease: after(30), ...patience(), tries, reserve: SECOND };
    const retry = this.conflictRetry.begin(this.session, key, options);
    for (;;) {
      retry.block();
      const next = retry.report({ tag: work() });
      if (next.tag !== 'retry-after') return next.tag;
      this.clock.sleep(next.val);
    }
  }

  resume(written) {
    return this.session.resume(written);
  }

  // Who has the key, or undefined.
  holder(key) {
    return this.session.status([key])[0].state.val;
  }
}

// How long to wait at most, in seconds, and the longest pause meanwhile.
function patience(wait) {
  return { wait: wait === undefined ? undefined : BigInt(wait) * SECOND, interval: SECOND / 20n };
}

// A ttl of so many seconds.
export function after(seconds) {
  return { tag: 'after', val: BigInt(seconds) * SECOND };
}
