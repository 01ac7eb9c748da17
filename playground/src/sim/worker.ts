// What every client does, whatever lock it has: wait for the lock, work under it in steps, give it back, rest.
//
// A step looks whether the lock is still held, computes, and writes what it has computed. So a client that is stopped
// between look and write does what programs do: it writes late, and does not know.

import type { Client, Held, Lock } from './client.ts';
import type { Hold } from './judge.ts';
import { type Task, Turnstile } from './process.ts';
import { Random } from './random.ts';

/** How long a step computes, in milliseconds. */
const STEP = 800;

/** How long a client rests between two pieces of work at most, in milliseconds. */
const REST = 900;

/** How long after a renewal that was not answered it is tried again, in milliseconds. */
const SOON = 300;

/** A piece of work under a grant. */
class Stint {
  readonly held: Held;
  readonly hold: Hold;
  /** One call at a time: a release waits for a renewal that is under way. */
  readonly turnstile = new Turnstile();
  isLost = false;
  isOver = false;

  constructor(held: Held, hold: Hold) {
    this.held = held;
    this.hold = hold;
  }
}

/** Works for ever. */
export function* worker(client: Client, lock: Lock): Task<void> {
  const random = new Random(client.world.seed, `worker ${client.index}`);
  yield* client.sleep(random.between(0, 120));
  for (;;) {
    const held = yield* lock.acquire();
    client.waitsNoMore();
    if (held) yield* stint(client, held);
    yield* client.sleep(random.between(REST / 3, REST));
  }
}

function* stint(client: Client, held: Held): Task<void> {
  const { judge, settings } = client.world;
  client.mark('grant', held.label, held.text);
  const text = `${client.name} holds the lock${held.token === undefined ? '' : ` with token ${held.token}`}.`;
  const stint = new Stint(held, judge.begin(client.lane, client.index, held.sharing, held.label, text));
  endWhenOver(client, stint);
  client.process.spawn(renewals(client, stint));
  yield* work(client, stint, Math.max(1, Math.round(settings.work / STEP)));
  stint.isOver = true;
  judge.end(stint.hold);
  yield* stint.turnstile.enter(function* () {
    if (!stint.isLost) yield* held.release();
  });
}

function* work(client: Client, stint: Stint, steps: number): Task<void> {
  const { held, hold } = stint;
  for (let step = 0; step < steps; step++) {
    if (stint.isLost) return;
    if (client.now() >= held.validUntil()) {
      client.mark('lost', 'over', `${client.name} sees that the lease is over, and stops.`);
      return;
    }
    yield* client.sleep(STEP);
    if (held.sharing === 'reader') {
      yield* client.read();
      continue;
    }
    const order = held.sharing === 'permit' ? undefined : hold.order;
    const outcome = yield* client.write({ token: held.token, order });
    if ('ok' in outcome && outcome.ok.kind === 'refused') {
      client.mark(
        'lost',
        'refused',
        `${client.name} learns from the refusal that somebody else has the lock, and stops.`,
      );
      return;
    }
  }
}

/** Renews in the background, as a guard of the library does. */
function* renewals(client: Client, stint: Stint): Task<void> {
  const { held, hold } = stint;
  const third = client.world.settings.lease / 3;
  let pause = third;
  for (;;) {
    yield* client.sleep(pause);
    if (stint.isOver || stint.isLost) return;
    const before = held.validUntil();
    yield* stint.turnstile.enter(function* () {
      if (stint.isOver || stint.isLost || (yield* held.renew())) return;
      stint.isLost = true;
      client.world.judge.end(hold);
    });
    if (stint.isLost) return;
    pause = held.validUntil() > before || before === Number.POSITIVE_INFINITY ? third : SOON;
  }
}

/** Ends the belief to hold when the grant's own time is over, even if the client is frozen. */
function endWhenOver(client: Client, stint: Stint): void {
  const { schedule, judge } = client.world;
  const until = stint.held.validUntil();
  if (!stint.hold.isOpen || until === Number.POSITIVE_INFINITY) return;
  schedule.at(until, () => {
    if (client.now() < stint.held.validUntil()) endWhenOver(client, stint);
    else judge.end(stint.hold);
  });
}
