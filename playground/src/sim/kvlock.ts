// kvlock as a client uses it: the component, polled, with timers between the polls.

import type {
  AcquireError,
  Acquisition,
  Grant,
  GrantError,
  Granted,
  Pending,
  Progress,
  Released,
  Validity,
  WaitingFor,
} from '../../generated/interfaces/kvlock-lock-mutex.js';
import type { Client, Held, Lock } from './client.ts';
import type { Result } from './component.ts';
import { millis, nanos } from './contents.ts';
import type { Sharing } from './judge.ts';
import { type Line, Waiter } from './line.ts';
import type { Effect, Task } from './process.ts';
import type { KvlockSession } from './session.ts';

/** The lock's name, and the semaphore's. */
export const KEY = 'report';
const POOL = 'pool';

/** The longest pause between two tries: a few round trips of this slow network. */
export const INTERVAL = nanos(300);

/** A lock, a shared lock or a semaphore, as the settings say. */
export class Kvlock implements Lock {
  readonly #session: KvlockSession;
  readonly #client: Client;
  readonly #line: Line | undefined;

  constructor(session: KvlockSession, line: Line | undefined) {
    this.#session = session;
    this.#client = session.client;
    this.#line = line;
  }

  *acquire(): Task<Held | undefined> {
    const { name } = this.#client;
    this.#client.waits('asks', `${name} asks for the lock.`);
    const granted = this.#client.world.settings.kind === 'semaphore' ? yield* this.#permit() : yield* this.#lock();
    return granted && (yield* this.#held(granted));
  }

  *#lock(): Task<Granted | undefined> {
    const { lease, wait } = this.#client.world.settings;
    const options = {
      mode: this.#sharing() === 'reader' ? ('shared' as const) : ('plain' as const),
      lease: { tag: 'after' as const, val: nanos(lease) },
      ...patience(wait),
      adopt: false,
      atLeast: 0n,
    };
    const session = this.#session.session();
    const begun = yield* this.#session.call<Acquisition, AcquireError>(() => session.lock(KEY, options));
    if ('error' in begun) return failed(this.#client, begun.error);
    const acquisition = begun.ok;
    if (!this.#line) return yield* waitFor(this.#session, () => acquisition.poll());
    const waiter = new Waiter(this.#session, acquisition);
    yield* this.#line.enter(waiter);
    const granted = yield* waitFor(
      this.#session,
      () => acquisition.poll(),
      (pause) => waiter.pause(this.#client.world.schedule, pause),
    );
    this.#line.leave(waiter);
    return granted;
  }

  *#permit(): Task<Granted | undefined> {
    const { lease, wait, permits } = this.#client.world.settings;
    const { semaphore } = this.#session.exports();
    const session = this.#session.session();
    const begun = yield* this.#session.call(() => semaphore.make(session, POOL, permits, patience(wait)));
    if ('error' in begun) return undefined;
    for (;;) {
      const made = yield* this.#session.call(() => begun.ok.poll());
      if ('error' in made || made.ok.tag === 'failed') return undefined;
      if (made.ok.tag === 'done') break;
      yield* this.#client.sleep(millis(made.ok.val.pause));
    }
    const options = { lease: { tag: 'after' as const, val: nanos(lease) }, ...patience(wait) };
    const acquired = yield* this.#session.call(() => semaphore.acquire(session, POOL, options));
    return 'ok' in acquired ? yield* waitFor(this.#session, () => acquired.ok.poll()) : undefined;
  }

  #sharing(): Sharing {
    const { kind } = this.#client.world.settings;
    if (kind === 'semaphore') return 'permit';
    return kind === 'readers' && this.#client.index > 0 ? 'reader' : 'alone';
  }

  /** The grant as a worker uses it. */
  *#held({ grant, token, permit }: Granted): Task<Held> {
    const client = this.#client;
    const session = this.#session;
    const line = this.#line;
    const sharing = this.#sharing();
    let until = yield* validUntil(session, grant);
    const seconds = ((until - client.now()) / 1000).toFixed(1);
    const what = permit === undefined ? `token ${token}` : `permit ${permit} with token ${token}`;
    return {
      sharing,
      // The tokens of different permits do not compare.
      token: sharing === 'permit' ? undefined : token,
      label: sharing === 'reader' ? 'reads' : sharing === 'permit' ? `permit ${permit}` : String(token),
      text: `${client.name} has ${what}. It is surely valid for ${seconds} s: the lease counts from before the request left.`,
      validUntil: () => until,
      *renew() {
        const renewed = yield* renew(session, grant);
        if (renewed) until = yield* validUntil(session, grant);
        return renewed !== undefined;
      },
      *release() {
        const release = () => grant.release();
        const released = line
          ? yield* line.release(session, grant)
          : yield* session.call<Released, GrantError>(release);
        tellRelease(client, released);
      },
    };
  }
}

/** Polls until there is a grant, and shows what the component waits for. */
export function* waitFor(
  session: KvlockSession,
  poll: () => Progress,
  pause?: (milliseconds: number) => Effect,
): Task<Granted | undefined> {
  const { client } = session;
  for (;;) {
    const polled = yield* session.call<Progress>(poll);
    if ('error' in polled) throw new Error('a poll answers, and does not throw');
    const { ok: progress } = polled;
    if (progress.tag === 'granted') return progress.val;
    if (progress.tag === 'failed') return failed(client, progress.val);
    showPending(client, progress.val);
    const milliseconds = millis(progress.val.pause);
    if (pause) yield pause(milliseconds);
    else yield* client.sleep(milliseconds);
  }
}

/** Until when a grant is surely valid, in milliseconds since the run began. */
export function* validUntil(session: KvlockSession, grant: Grant): Task<number> {
  const validity: Result<Validity, never> = yield* session.call(() => grant.validity());
  if ('error' in validity || validity.ok.tag !== 'valid') return session.client.now();
  return session.client.now() + Math.floor(Number(validity.ok.val) / 1_000_000);
}

/** Renews a grant: true if its lease has begun again, false if that is not known; nothing if it is lost. */
function* renew(session: KvlockSession, grant: Grant): Task<boolean | undefined> {
  const { client } = session;
  const renewed = yield* session.call<void, GrantError>(() => grant.renew(undefined));
  if ('ok' in renewed) {
    client.mark('renewed', '', `${client.name} has renewed: its lease begins again.`);
    return true;
  }
  if (renewed.error.tag === 'store') {
    client.mark('told', 'no answer', `${client.name} could not renew: the grant stands until its own time is over.`);
    return false;
  }
  const holder = renewed.error.tag === 'lost' ? renewed.error.val?.owner : undefined;
  const found = holder === undefined ? 'its record is gone' : `the record of ${holder} stands there`;
  client.mark('lost', 'lost', `${client.name} renews and learns that the lock is lost: ${found}. It stops at once.`);
  return undefined;
}

/** Tells what a release came to. */
export function tellRelease(client: Client, released: Result<Released, GrantError>): void {
  const { name } = client;
  if ('ok' in released) {
    if (released.ok.tag === 'freed')
      client.mark('released', '', `${name} gives the lock back: its own version, and no other.`);
  } else if (released.error.tag === 'lost') {
    const text = `${name} wants to give the lock back and learns that it was lost. Nobody else's lock is touched.`;
    client.mark('lost', 'lost', text);
  } else {
    client.mark(
      'told',
      'no answer',
      `${name} gave the lock back and got no answer: it ends with its lease at the latest.`,
    );
  }
}

function showPending(client: Client, { waitingFor, pause }: Pending): void {
  const [label, text] = sayWait(client.name, waitingFor);
  client.waits(label, `${text} It asks again in ${millis(pause)} ms.`);
}

function sayWait(name: string, waiting: WaitingFor): [string, string] {
  switch (waiting.tag) {
    case 'turn':
      return ['its turn', `${name} knows of no holder, and waits for its turn.`];
    case 'holder': {
      const { owner, readers, reserved } = waiting.val;
      if (reserved) return ['reserved', `${name} found the lock reserved for the next try of ${owner}.`];
      const whom = readers > 1 ? `${readers} readers` : owner;
      return [`for ${whom}`, `${name} found the record of ${whom}, and waits.`];
    }
    case 'exhausted':
      return ['no permit', `${name} found ${waiting.val.held} of ${waiting.val.size} permits held.`];
    case 'quarantine': {
      const seconds = (millis(waiting.val) / 1000).toFixed(1);
      const text = `${name} found a server that has forgotten everything: it could grant a lock that is still in use.`;
      return ['quarantine', `${text} Nothing is granted for ${seconds} s.`];
    }
    case 'outage':
      return ['no answer', `${name} gets no answer from the store, and rides the outage out.`];
  }
}

export function patience(wait: number | undefined) {
  return { ...(wait === undefined ? {} : { wait: nanos(wait) }), interval: INTERVAL };
}

function failed(client: Client, error: AcquireError): undefined {
  const why = error.tag === 'busy' ? 'gives up: the wait is over' : `does not get the lock: ${error.tag}`;
  client.mark('told', error.tag, `${client.name} ${why}.`);
  return undefined;
}
