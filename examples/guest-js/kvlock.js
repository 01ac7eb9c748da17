// A lock as a scope, over the interface `kvlock:lock/mutex`. Copy this file into your component.
//
//     const locks = openSession({ owner: 'report' });
//     locks.withLock('nightly', { wait: 60 }, (grant) => work(grant.token));
//
// Times are in seconds. A wait of null is one without end. Nothing renews in the background: choose a lease that is
// longer than the work, or call `grant.renew()` between two steps of it.

import { Session } from 'kvlock:lock/mutex@0.1.0';

/** Why there is no lock, or why it could not be renewed or released. `tag` is the case of the WIT, such as `busy`. */
export class LockError extends Error {
  constructor(key, tag, text) {
    super(`\`${key}\`: ${text}`);
    this.name = 'LockError';
    this.key = key;
    this.tag = tag;
  }
}

/**
 * Opens a session, an owner of locks. Two sessions exclude each other, whatever their names are. `quarantine` is the
 * longest lease in use: after a restart of the store nothing is granted for so long. null means 30 seconds, or the lease
 * if that is longer.
 */
export function openSession({ owner, label = '', namespace = 'kvlock', quarantine = null }) {
  const unixTime = BigInt(Date.now()) * 1_000_000n;
  const options = { owner, label, namespace, quarantine: nanos(quarantine), unixTime };
  return new Locks(told('the session', () => Session.open(options)));
}

class Locks {
  #session;

  constructor(session) {
    this.#session = session;
  }

  /** Waits for the lock of a key. Where the engine has `using`, the grant is released at the end of its block. */
  acquire(key, { lease = 30, wait = null, interval = 0.05, atLeast = 0, mode = 'plain', note } = {}) {
    const options = {
      mode,
      lease: after(lease),
      wait: nanos(wait),
      interval: nanos(interval),
      adopt: false,
      atLeast: nanos(atLeast),
      note,
    };
    return new Grant(key, told(key, () => this.#session.lock(key, options).block()));
  }

  /**
   * Holds the lock of a key while `work` runs, or until its promise is settled, and returns what it returns. Throws
   * `lost` if the lock was lost meanwhile. What `work` throws goes on.
   */
  withLock(key, options, work) {
    const grant = this.acquire(key, options);
    const released = (result) => (grant.release(), result);
    const failed = (error) => {
      grant.abandon();
      throw error;
    };
    let result;
    try {
      result = work(grant);
    } catch (error) {
      failed(error);
    }
    return typeof result?.then === 'function' ? result.then(released, failed) : released(result);
  }
}

/** A lock that is held. `token` grows from grant to grant of a key: send it along with each change. */
class Grant {
  #grant;

  constructor(key, grant) {
    this.#grant = grant;
    this.key = key;
    this.token = grant.token();
  }

  /** Begins the lease again, with another length if one is given. */
  renew(lease = null) {
    told(this.key, () => this.#grant.renew(lease === null ? undefined : after(lease)));
  }

  /** Gives the lock back. */
  release() {
    told(this.key, () => this.#grant.release());
  }

  /** Gives the lock back as far as that is possible; what fails is told nobody. */
  abandon() {
    try {
      this.release();
    } catch (error) {
      if (!(error instanceof LockError)) throw error;
    }
  }

  [Symbol.dispose ?? Symbol.for('dispose')]() {
    this.abandon();
  }
}

function nanos(seconds) {
  return seconds === null ? undefined : BigInt(Math.round(seconds * 1e9));
}

function after(seconds) {
  return { tag: 'after', val: nanos(seconds) };
}

/** Calls, and turns an error of the WIT into one that names the key. */
function told(key, call) {
  try {
    return call();
  } catch (error) {
    if (error?.payload === undefined) throw error;
    throw new LockError(key, error.payload.tag, text(error.payload));
  }
}

/** What a case of the WIT says, for people: its name and what it has, down to the text of the store. */
function text(why) {
  if (typeof why !== 'object') return String(why);
  if (why.waitingFor !== undefined) return text(why.waitingFor);
  if (why.tag === undefined) return why.owner ?? '';
  const name = why.tag.replaceAll('-', ' ');
  return why.val === undefined ? name : `${name}: ${text(why.val)}`;
}
