// Work that has a concurrency control of its own, tried again under kvlock until it commits; and an outsider that uses
// no lock, so that there is something to conflict with.

import type { NextTry, Retry, WorkOutcome } from '../../generated/interfaces/kvlock-lock-conflict-retry.js';
import type { GrantError } from '../../generated/interfaces/kvlock-lock-mutex.js';
import type { Client } from './client.ts';
import { millis, nanos } from './contents.ts';
import { KEY, patience, validUntil, waitFor } from './kvlock.ts';
import type { Task } from './process.ts';
import { Random } from './random.ts';
import type { KvlockSession } from './session.ts';

/** How often work is tried at most, and how long the lock is kept for the next try. */
const TRIES = 5;
const RESERVE = nanos(1500);

/** Does pieces of work for ever. */
export function* retryWorker(session: KvlockSession): Task<void> {
  const { client } = session;
  const random = new Random(client.world.seed, `worker ${client.index}`);
  yield* client.sleep(random.between(0, 120));
  for (;;) {
    yield* untilCommitted(session);
    yield* client.sleep(random.between(400, 1200));
  }
}

/** Reads and writes without a lock, now and then. */
export function* outsider(client: Client): Task<void> {
  const random = new Random(client.world.seed, 'outsider');
  for (;;) {
    yield* client.sleep(random.between(1500, 4500));
    yield* client.write({ token: undefined, order: undefined });
  }
}

function* untilCommitted(session: KvlockSession): Task<void> {
  const { client } = session;
  const { lease, wait } = client.world.settings;
  const { conflictRetry } = session.exports();
  const options = {
    lease: { tag: 'after' as const, val: nanos(lease) },
    ...patience(wait),
    tries: TRIES,
    reserve: RESERVE,
  };
  const owner = session.session();
  const begun = yield* session.call<Retry>(() => conflictRetry.begin(owner, KEY, options));
  if ('error' in begun) return;
  for (;;) {
    const outcome = yield* oneTry(session, begun.ok);
    if (!outcome) return;
    const next = yield* session.call<NextTry, GrantError>(() => begun.ok.report(outcome));
    if ('error' in next || next.ok.tag === 'finished' || next.ok.tag === 'outermost') return;
    if (next.ok.tag === 'exhausted') {
      client.mark('told', 'gives up', `${client.name} gives up after ${TRIES} conflicts, and passes the last one on.`);
      return;
    }
    const pause = millis(next.ok.val);
    const text = `${client.name} met a conflict. The lock stays reserved for its next try, so nobody else gets in its way.`;
    client.mark('conflict', 'conflict', text);
    client.waits('retries', text);
    yield* client.sleep(pause);
  }
}

/** Runs the work once; nothing if the lock could not be had. */
function* oneTry(session: KvlockSession, retry: Retry): Task<WorkOutcome | undefined> {
  const { client } = session;
  const { judge, settings } = client.world;
  client.waits('asks', `${client.name} asks for the lock.`);
  const granted = yield* waitFor(session, () => retry.poll());
  client.waitsNoMore();
  if (!granted) return undefined;
  const token = String(granted.token);
  const text = `${client.name} tries its work under the lock, with token ${token}.`;
  client.mark('grant', token, text);
  const until = yield* validUntil(session, granted.grant);
  const hold = judge.begin(client.lane, client.index, 'alone', token, text);
  client.world.schedule.at(until, () => judge.end(hold));
  const outcome = yield* transaction(client, granted.token, hold.order, Math.min(settings.work, settings.lease / 2));
  judge.end(hold);
  return outcome;
}

/** Reads, computes, and writes if nobody has written since. */
function* transaction(client: Client, token: bigint, order: number, work: number): Task<WorkOutcome> {
  const read = yield* client.read();
  if ('error' in read) return { tag: 'failed' };
  yield* client.sleep(work);
  const written = yield* client.write({ token, order, ifVersion: read.ok });
  if ('error' in written) return { tag: 'failed' };
  if (written.ok.kind === 'conflict') return { tag: 'conflict', val: undefined };
  return { tag: written.ok.kind === 'refused' ? 'failed' : 'committed' };
}
