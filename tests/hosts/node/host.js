// Runs the lock component in Node, over a store of a few lines, and shows what locks and semaphores do.
//
//     node host.js kvlock.wasm OUT

import { resolve } from 'node:path';
import { after, load } from './component.js';
import { VirtualClock, kvStore } from './kv-store.js';

const [wasm, out] = process.argv.slice(2);
const clock = new VirtualClock();
const kv = kvStore(clock);
const session = await load(wasm, resolve(out), kv, clock);
const seconds = (nanos) => nanos / 1_000_000_000n;
const [one, two] = [await session('one'), await session('two')];

const grant = one.lock('report');
console.log(`one has the lock, token ${grant.token()}`);
console.log(`two sees that ${two.holder('report').owner} has it`);

const busy = errorOf(() => two.lock('report', { wait: 5 }));
const { waited, waitingFor } = busy.val;
console.log(`two gave up after ${seconds(waited)} s: ${busy.tag}, held by ${waitingFor.val.owner}`);
console.log(`one asks again: ${errorOf(() => one.lock('report')).tag}`);
grant.renew(after(10));
console.log('one renewed for 10 s');

const before = clock.now();
const taken = two.lock('report');
const passed = seconds(clock.now() - before);
console.log(`two took over after ${passed} s, its token is larger: ${taken.token() > grant.token()}`);
console.log(`one renews: ${errorOf(() => grant.renew()).tag}`);
console.log(`one releases: ${errorOf(() => grant.release()).tag}`);
console.log(`two releases: ${taken.release().tag}`);

const [outer, inner] = [one.lock('nested', { reentrant: true }), one.lock('nested', { reentrant: true })];
console.log(`one has it ${inner.depth()} times, and two sees ${two.holder('nested').depth}`);
console.log(
  `one releases: ${inner.release().tag}, ${outer.release().tag}, ${errorOf(() => outer.release()).tag}`,
);

const written = one.lock('handed over').writeOut();
const resumed = (await session('three')).resume(written);
resumed.renew();
console.log(`three renewed what one wrote out, and releases: ${resumed.release().tag}`);
// The one error of the component that is a text.
const isText = typeof errorOf(() => two.resume('hello')) === 'string';
console.log(`a text that is no grant: ${isText ? 'invalid' : '?'}`);

const both = one.lockAll(['b', 'a']);
const keys = both.keys().map(({ key }) => key);
console.log(`one has ${keys.join(' and ')}, and two waits for neither: ${two.holder('a').owner}`);
const refused = errorOf(() => two.lockAll(['c', 'a'], { wait: 0 }));
console.log(`two asks for a and c: ${refused.tag}, and c is free: ${two.holder('c') === undefined}`);
console.log(`one releases: ${both.release().tag}`);

console.log(`one makes a pool of 2, there was none: ${one.make('pool', 2) === undefined}`);
const permits = [one.permit('pool'), one.permit('pool')].sort((a, b) => a.permit() - b.permit());
console.log(`one has its permits ${permits.map((grant) => grant.permit()).join(' and ')}`);
const full = errorOf(() => two.permit('pool', { wait: 0 }));
const why = full.val.waitingFor;
console.log(`two asks for one: ${full.tag}, ${why.tag}, ${why.val.held} of ${why.val.size}`);
console.log(`two asks for one of a pond: ${errorOf(() => two.permit('pond')).tag}`);
const held = errorOf(() => two.make('pool', 1, { wait: 5 }));
console.log(`two makes the pool 1: ${held.tag}, by ${held.val.holders.map((holder) => holder.owner).join(' and ')}`);
console.log(`one releases: ${permits[1].release().tag}`);
two.make('pool', 1);
for (const { name, holders, size } of two.semaphores()) {
  console.log(`two made it, and lists ${name}: ${holders.length} of ${size} held`);
}
console.log(`one releases: ${permits[0].release().tag}, and two has permit ${two.permit('pool').permit()}`);

const outcomes = ['conflict', 'conflict', 'committed'];
console.log(`work that conflicts twice: ${one.retry('account', () => outcomes.shift())}`);
console.log(`work that always conflicts: ${one.retry('account', () => 'conflict')}`);

const dispose = Symbol.dispose ?? Symbol.for('dispose');
one.lock('forgotten')[dispose]();
console.log(`one forgot a grant, and two finds the lock free: ${two.holder('forgotten') === undefined}`);

kv.calls.length = 0;
one.lock('quick').release();
console.log(`an uncontended lock and release are ${kv.calls.join(', ')}`);

// What the component answered with: jco throws a variant as it is, and a text in an Error's `payload`.
function errorOf(action) {
  try {
    action();
  } catch (error) {
    if (error instanceof Error && error.payload === undefined) throw error;
    return error.payload ?? error;
  }
  throw new Error('it succeeded');
}
