// A program that adds one to a number in a file, TURNS times, each time under the lock `counter`. It prints the number,
// and the fencing token under which it was written.

import { getEnvironment } from 'wasi:cli/environment@0.2.0';
import { getDirectories } from 'wasi:filesystem/preopens@0.2.0';
import { LockError, openSession } from './kvlock.js';

export const run = {
  run() {
    try {
      work(Object.fromEntries(getEnvironment()));
    } catch (error) {
      if (!(error instanceof LockError)) throw error;
      console.error(error.message);
      throw undefined;
    }
  },
};

function work({ TURNS = '1', COUNTER = 'counter' }) {
  // As long as the longest lease in use: after a restart of the store, an earlier holder may still be at work.
  const locks = openSession({ owner: 'guest-js', namespace: 'example', quarantine: 10 });
  for (let turn = 0; turn < Number(TURNS); turn += 1) {
    locks.withLock('counter', { lease: 10, wait: 120 }, (grant) => {
      console.log(`${addOne(COUNTER)} ${grant.token}`);
    });
  }
}

function addOne(path) {
  const [[directory]] = getDirectories();
  const file = directory.openAt({}, path, { create: true }, { read: true, write: true });
  const [bytes] = file.read(64n, 0n);
  const number = Number(new TextDecoder().decode(bytes)) + 1;
  file.write(new TextEncoder().encode(String(number)), 0n);
  return number;
}
