// Random runs: whatever happens from outside, kvlock has one holder at a time, and the resource takes no late write. Each
// classic lock has a run in which it loses, so the judge sees what there is to see.
//
//     node build.mjs --for-node test/random.ts OUT && node OUT [RUNS]

import assert from 'node:assert/strict';
import { unpack } from '../src/embedded.ts';
import { SETUPS, type SetupId } from '../src/setups.ts';
import { Random } from '../src/sim/random.ts';
import {
  type ClientAction,
  DEFAULTS,
  type Deed,
  type Kind,
  type ServerAction,
  type Settings,
} from '../src/sim/settings.ts';
import { type Score, score } from '../src/sim/trace.ts';
import { World } from '../src/sim/world.ts';

const LENGTH = 30_000;
const KINDS: Kind[] = ['lock', 'handover', 'semaphore', 'readers', 'retry'];

/** All but what kvlock promises nothing for: an eviction, and a break. */
const OF_SERVER: ServerAction[] = ['restart', 'kill', 'start', 'start', 'flush'];
const OF_CLIENT: ClientAction[] = [
  'freeze',
  'thaw',
  'thaw',
  'crash',
  'revive',
  'lose-request',
  'lose-reply',
  'delay-request',
  'delay-write',
  'clock',
];

const { instances } = await unpack();

function pick<T>(random: Random, from: T[]): T {
  return from[random.between(0, from.length - 1)] as T;
}

function deeds(random: Random, clients: number): Deed[] {
  return Array.from({ length: random.between(2, 14) }, () => {
    const time = random.between(100, LENGTH - 2000);
    if (random.between(0, 4) === 0) return { time, action: pick(random, OF_SERVER) };
    return { time, action: pick(random, OF_CLIENT), client: random.between(0, clients - 1) };
  });
}

function run(setup: SetupId, settings: Settings, seed: number, deeds: Deed[]): Score {
  const world = new World(SETUPS[setup].setup, settings, seed, deeds, instances);
  world.runTo(LENGTH);
  world.close();
  return score(world.trace, LENGTH);
}

const runs = Number(process.argv[2] ?? 40);
let grants = 0;
let refused = 0;
const lost = new Set<SetupId>();
for (let seed = 1; seed <= runs; seed++) {
  const random = new Random(seed, 'runs');
  const lease = random.between(2, 6) * 1000;
  const settings = { ...DEFAULTS, kind: pick(random, KINDS), clients: random.between(2, 5), lease, quarantine: lease };
  const done = deeds(random, settings.clients);
  const held = run('kvlock', settings, seed, done);
  assert.equal(held.overlaps, 0, `seed ${seed}: too many holders with ${settings.kind}, ${JSON.stringify(done)}`);
  assert.equal(held.stale, 0, `seed ${seed}: a late write with ${settings.kind}, ${JSON.stringify(done)}`);
  grants += held.grants;
  refused += held.refused;
  for (const id of ['get-then-set', 'no-owner', 'compare-then-delete', 'touch', 'unfenced'] as const) {
    if (lost.has(id)) continue;
    const { overlaps, stale } = run(id, { ...settings, kind: 'lock' }, seed, done);
    if (overlaps + stale > 0) lost.add(id);
  }
}
assert.equal(lost.size, 5, `only these lose: ${[...lost].join(', ')}`);
assert.ok(refused > 0, 'the token was never needed');
console.log(`${runs} runs, ${grants} grants, ${refused} late writes refused`);
