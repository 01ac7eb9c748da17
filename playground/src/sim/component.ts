// The shipped component, in an instance of its own, in virtual time.
//
// A call of the component is synchronous: it asks the store and goes on with the answer. In this world the answer comes
// later, and what others do until then decides what it is. So a call is made again from a copy of the instance's memory
// for each answer that it needs:
//
// 1. Copy the memory. Make the call. When it asks the store, note the question, and let the call run out on "store
//    unavailable": what it does and answers from there on is thrown away.
// 2. Put the copy back. Send the question through the simulated network, and wait for the answer.
// 3. Make the call again, with the answers, clock readings and random numbers that it had before, until it returns
//    without a question that has no answer.
//
// The component cannot tell this from a host that blocks: it sees the same answers, times and numbers in the same order.
// Where the component sleeps within a call (it waits for the outcome of a write that was not answered), the pause is a
// question too, and its end the answer. Between calls the stack is empty, so the memory is all it has. What jco keeps beside it are handles: the ones that a
// discarded try made are never used.

import type { Write } from '../../generated/interfaces/kvlock-lock-kv-store.js';
import type { ImportObject, instantiate, Root } from '../../generated/kvlock.js';
import type {
  Answer,
  DeleteOutcome,
  Entry,
  EraInfo,
  Request,
  StoreError,
  Ttl,
  Version,
  WriteOutcome,
} from './contents.ts';
import { type Task, Turnstile } from './process.ts';

/** What a call of the component came to. */
export type Result<T, E> = { ok: T } | { error: E };

/** What an instance needs of the world. */
export type Host = {
  now: () => bigint;
  random: () => bigint;
  ask: (request: Request) => Task<Answered>;
  sleep: (nanoseconds: bigint) => Task<void>;
};

export type Answered = { ok: Answer } | { error: StoreError };
export type CoreModules = (path: string) => WebAssembly.Module;

/** What a call has to wait for. */
type Question = Request | { op: 'sleep'; nanoseconds: bigint };

/** What a call has seen so far. */
class Seen {
  readonly answers: Answered[] = [];
  readonly readings: bigint[] = [];
}

/** One try of a call. */
class Try {
  readonly #seen: Seen;
  #answer = 0;
  #reading = 0;
  #skipped = 0n;
  question: Question | undefined;

  constructor(seen: Seen) {
    this.#seen = seen;
  }

  ask(request: Request): Answer {
    const answered = this.#next(request);
    if (!answered) {
      throw { tag: 'unavailable', val: 'no answer yet' } satisfies StoreError;
    }
    if ('error' in answered) throw answered.error;
    return answered.ok;
  }

  sleep(nanoseconds: bigint): void {
    if (!this.#next({ op: 'sleep', nanoseconds })) this.#skipped += nanoseconds;
  }

  /** Reads the clock: what is thrown away passes in no time, but not without its time passing. */
  now(clock: () => bigint): bigint {
    return this.read(clock) + this.#skipped;
  }

  /** The answer that the call had before; without one, there is a question. */
  #next(question: Question): Answered | undefined {
    const answered = this.question ? undefined : this.#seen.answers[this.#answer++];
    if (!answered) this.question ??= question;
    return answered;
  }

  read(source: () => bigint): bigint {
    if (this.question) return source();
    const at = this.#reading++;
    this.#seen.readings[at] ??= source();
    return this.#seen.readings[at] as bigint;
  }
}

/** An instance, with the memory that it began with. To make one takes a while, so a run gives its own back. */
type Instance = { exports: Root; memory: WebAssembly.Memory; pristine: Uint8Array; user: { host: Host; turn: Try } };

/** Instances of the component, used again. */
export class Instances {
  readonly #modules: CoreModules;
  readonly #instantiate: typeof instantiate;
  readonly #idle: Instance[] = [];

  constructor(modules: CoreModules, instantiate_: typeof instantiate) {
    this.#modules = modules;
    this.#instantiate = instantiate_;
  }

  take(): Instance {
    return this.#idle.pop() ?? makeInstance(this.#modules, this.#instantiate);
  }

  giveBack(instance: Instance): void {
    this.#idle.push(instance);
  }
}

export class Component {
  readonly exports: Root;
  readonly #instances: Instances;
  readonly #instance: Instance;
  readonly #host: Host;
  readonly #turnstile = new Turnstile();

  constructor(instances: Instances, host: Host) {
    this.#instances = instances;
    this.#host = host;
    this.#instance = instances.take();
    this.#instance.user = { host, turn: new Try(new Seen()) };
    restore(this.#instance.memory, this.#instance.pristine);
    this.exports = this.#instance.exports;
  }

  /** Gives the instance back; this component is of no use any more. */
  close(): void {
    this.#instances.giveBack(this.#instance);
  }

  /** Makes a call that may ask the store, and waits for its end. One call runs at a time. */
  call<T, E = never>(call: () => T): Task<Result<T, E>> {
    return this.alone(() => this.callAlone<T, E>(call));
  }

  /** Does several calls (`callAlone`) with none of others between them. */
  alone<T>(task: () => Task<T>): Task<T> {
    return this.#turnstile.enter(task);
  }

  *callAlone<T, E = never>(call: () => T): Task<Result<T, E>> {
    const { memory, user } = this.#instance;
    const before = image(memory);
    const seen = new Seen();
    for (;;) {
      const turn = new Try(seen);
      user.turn = turn;
      const result = attempt<T, E>(call);
      if (!turn.question) return result;
      restore(memory, before);
      seen.answers.push(yield* this.#answer(turn.question));
    }
  }

  *#answer(question: Question): Task<Answered> {
    if (question.op !== 'sleep') return yield* this.#host.ask(question);
    yield* this.#host.sleep(question.nanoseconds);
    return { ok: [] };
  }
}

function makeInstance(modules: CoreModules, make: typeof instantiate): Instance {
  const user = { host: undefined as unknown as Host, turn: new Try(new Seen()) };
  let memory: WebAssembly.Memory | undefined;
  const instance: Partial<Instance> = {};
  const exports = make(
    modules,
    imports(() => (instance as Instance).user),
    (module, imports) => {
      const core = new WebAssembly.Instance(module, imports);
      if (core.exports.memory instanceof WebAssembly.Memory) memory = core.exports.memory;
      return core;
    },
  );
  if (!memory) throw new Error('the component has no memory');
  return Object.assign(instance, { exports, memory, pristine: image(memory), user });
}

/** What the component imports, for whoever uses the instance. */
function imports(user: () => Instance['user']): ImportObject {
  const ask = (request: Request) => user().turn.ask(request);
  class Pollable {
    readonly #nanoseconds: bigint;
    constructor(nanoseconds: bigint) {
      this.#nanoseconds = nanoseconds;
    }
    block(): void {
      user().turn.sleep(this.#nanoseconds);
    }
  }
  const kvStore = {
    getMany: (keys: string[]) => ask({ op: 'get-many', keys }) as (Entry | undefined)[],
    add: (key: string, value: Uint8Array, ttl: Ttl) => ask({ op: 'add', key, value, ttl }) as WriteOutcome,
    replace: (key: string, value: Uint8Array, ttl: Ttl, version: Version) =>
      ask({ op: 'replace', key, value, ttl, version }) as WriteOutcome,
    delete: (key: string, version: Version) => ask({ op: 'delete', key, version }) as DeleteOutcome,
    // One after the other: each is a call of its own to this store.
    writeMany: (writes: Write[]): unknown[] => writes.map((write) => settled(() => answer(ask, write))),
    era: (key: string) => ask({ op: 'era', key }) as EraInfo,
  };
  return {
    'kvlock:lock/kv-store': kvStore,
    'kvlock:lock/types': {},
    'wasi:clocks/monotonic-clock': {
      now: () => user().turn.now(user().host.now),
      subscribeDuration: (nanoseconds: bigint) => new Pollable(nanoseconds),
    },
    'wasi:io/poll': { Pollable },
    'wasi:random/random': { getRandomU64: () => user().turn.read(user().host.random) },
  } as unknown as ImportObject;
}

function image(memory: WebAssembly.Memory): Uint8Array {
  return new Uint8Array(memory.buffer).slice();
}

/** Puts a copy back. A memory never shrinks: what it grew by since is cleared. */
function restore(memory: WebAssembly.Memory, image: Uint8Array): void {
  const bytes = new Uint8Array(memory.buffer);
  bytes.set(image);
  bytes.fill(0, image.length);
}

/** Makes one of several writes. */
function answer(ask: (request: Request) => Answer, write: Write): unknown {
  const { key } = write.val;
  if (write.tag === 'delete') return { tag: 'deleted', val: ask({ op: 'delete', key, version: write.val.ifVersion }) };
  const { value, ttl } = write.val;
  if (write.tag === 'add') return { tag: 'written', val: ask({ op: 'add', key, value, ttl }) };
  return { tag: 'written', val: ask({ op: 'replace', key, value, ttl, version: write.val.ifVersion }) };
}

/** The result of a call as jco has it within a list. */
function settled(call: () => unknown): unknown {
  const result = attempt<unknown, StoreError>(call);
  return 'ok' in result ? { tag: 'ok', val: result.ok } : { tag: 'err', val: result.error };
}

/** What jco throws for an error of the component is the error itself, or has it as its payload. */
function attempt<T, E>(call: () => T): Result<T, E> {
  try {
    return { ok: call() };
  } catch (thrown) {
    if (thrown instanceof Error && !('payload' in thrown)) throw thrown;
    const error = thrown instanceof Error ? (thrown as Error & { payload: unknown }).payload : thrown;
    return { error: error as E };
  }
}
