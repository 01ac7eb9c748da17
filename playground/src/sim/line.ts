// The queue of a process: of its sessions that wait for the lock only the first polls, and a holder hands the lock over
// to it by one write.

import type { Acquisition, Claim, Grant, GrantError, Released } from '../../generated/interfaces/kvlock-lock-mutex.js';
import type { Result } from './component.ts';
import type { Effect, Task } from './process.ts';
import type { Schedule } from './schedule.ts';
import type { KvlockSession } from './session.ts';

/** A session that waits in line. */
export class Waiter {
  readonly session: KvlockSession;
  readonly acquisition: Acquisition;
  isHanded = false;
  wake: () => void = () => {};

  constructor(session: KvlockSession, acquisition: Acquisition) {
    this.session = session;
    this.acquisition = acquisition;
  }

  /** Waits so long, or until somebody wakes it. */
  pause(schedule: Schedule, milliseconds: number): Effect {
    return (resume) => {
      this.wake = resume;
      schedule.at(schedule.now() + milliseconds, resume);
    };
  }
}

export class Line {
  #waiters: Waiter[] = [];

  /** Waits until the waiter is the first, or has been handed the lock. */
  *enter(waiter: Waiter): Task<void> {
    const { client } = waiter.session;
    this.#waiters.push(waiter);
    while (this.#waiters[0] !== waiter && !waiter.isHanded) {
      const at = this.#waiters.indexOf(waiter);
      client.waits(
        `${at + 1}. here`,
        `${client.name} waits behind ${at} of its own process, and asks the store nothing.`,
      );
      yield (resume) => {
        waiter.wake = resume;
      };
    }
  }

  leave(waiter: Waiter): void {
    this.#waiters = this.#waiters.filter((other) => other !== waiter);
    this.#waiters[0]?.wake();
  }

  /** Forgets all: the process has ended. */
  clear(): void {
    this.#waiters = [];
  }

  /** Releases a grant, to the first in line if there is one. */
  *release(from: KvlockSession, grant: Grant): Task<Result<Released, GrantError>> {
    const next = this.#waiters[0];
    if (!next) return yield* from.call<Released, GrantError>(() => grant.release());
    return yield* next.session.component.alone(() => handOver(from, grant, next));
  }
}

/** Hands the lock over, while the successor makes no call of its own. */
function* handOver(from: KvlockSession, grant: Grant, next: Waiter): Task<Result<Released, GrantError>> {
  const { component, client } = next.session;
  const claimed = yield* component.callAlone<Claim | undefined>(() => next.acquisition.claim());
  const claim = 'ok' in claimed ? claimed.ok : undefined;
  if (!claim) return yield* from.call<Released, GrantError>(() => grant.release());
  const released = yield* from.call<Released, GrantError>(() => grant.handOver(claim));
  if ('ok' in released && released.ok.tag === 'handed-over') {
    const handed = released.ok.val;
    yield* component.callAlone(() => next.acquisition.take(handed));
    next.isHanded = true;
    from.client.mark('handed', '', `${from.client.name} hands the lock over to ${client.name} by one write.`);
    next.wake();
  }
  return released;
}
