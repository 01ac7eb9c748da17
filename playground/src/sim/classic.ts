// What the classic locks are written against: a cache as its clients know it.

import type { Client, Held, Lock } from './client.ts';
import { type Answer, type Entry, nanos, type Request, type StoreError, type Version } from './contents.ts';
import type { Outcome } from './network.ts';
import type { Task } from './process.ts';
import { Random } from './random.ts';
import type { Server } from './server.ts';
import { sayAnswer, sayRequest } from './words.ts';

/** What a lock remembers of its grant. */
// biome-ignore lint/suspicious/noExplicitAny: it depends on the lock.
export type Mine = any;

/** A classic lock; see the files of `classic`. */
export type Algorithm = {
  acquire: (cache: Cache, me: Me) => Generator<unknown, Mine>;
  renew: (cache: Cache, me: Me, mine: Mine) => Generator<unknown, boolean>;
  release: (cache: Cache, me: Me, mine: Mine) => Generator<unknown, void>;
};

/** Who asks. */
export type Me = {
  name: string;
  /** Milliseconds. */
  lease: number;
  /** The wall clock, which may be wrong, in milliseconds. */
  clock: () => number;
  /** A clock that never jumps, in milliseconds. */
  now: () => number;
};

/** No answer came in time, or the connection was refused. */
export class NoAnswer extends Error {}

/** The commands of a cache. Each throws `NoAnswer` if the cache does not answer. */
export class Cache {
  readonly #client: Client;
  readonly #server: Server;

  constructor(client: Client, server: Server) {
    this.#client = client;
    this.#server = server;
  }

  // biome-ignore lint/suspicious/noExplicitAny: what was written is read.
  *get(key: string): Task<any> {
    const [entry] = (yield* this.#ask({ op: 'get-many', keys: [key] })) as (Entry | undefined)[];
    return entry && JSON.parse(new TextDecoder().decode(entry.value));
  }

  /** Writes whatever is there. */
  *set(key: string, value: unknown, milliseconds: number): Task<void> {
    yield* this.#ask({ op: 'set', key, ...content(value, milliseconds) });
  }

  /** Writes if nothing is there, and returns the new version. */
  *add(key: string, value: unknown, milliseconds: number): Task<Version | undefined> {
    return written(yield* this.#ask({ op: 'add', key, ...content(value, milliseconds) }));
  }

  /** Deletes whatever is there. */
  *delete(key: string): Task<void> {
    yield* this.#ask({ op: 'drop', key });
  }

  /** Makes an entry last longer, and returns whether there is one. */
  *touch(key: string, milliseconds: number): Task<boolean> {
    return written(yield* this.#ask({ op: 'touch', key, ttl: ttl(milliseconds) })) !== undefined;
  }

  /** Writes if the entry has this version, and returns the new one. */
  *replaceVersion(key: string, value: unknown, milliseconds: number, version: Version): Task<Version | undefined> {
    return written(yield* this.#ask({ op: 'replace', key, ...content(value, milliseconds), version }));
  }

  /** Deletes the entry if it has this version. */
  *deleteVersion(key: string, version: Version): Task<void> {
    yield* this.#ask({ op: 'delete', key, version });
  }

  *#ask(request: Request): Task<Answer> {
    const { index, name, lane, world } = this.#client;
    const outcome: Outcome<{ ok: Answer } | { error: StoreError }> = yield world.network.ask({
      client: index,
      from: lane,
      to: this.#server.lane,
      ...sayRequest(name, request),
      faults: ['lose-request', 'lose-reply', 'delay-request'],
      execute: () => {
        const answer = this.#server.execute(request);
        return answer && { answer, ...sayAnswer(request, answer) };
      },
    });
    if ('ok' in outcome && 'ok' in outcome.ok) return outcome.ok.ok;
    throw new NoAnswer();
  }
}

/** A classic lock as a worker uses it: it asks again and again. */
export class ClassicLock implements Lock {
  readonly #client: Client;
  readonly #algorithm: Algorithm;
  readonly #cache: Cache;
  readonly #me: Me;
  readonly #random: Random;

  constructor(client: Client, server: Server, algorithm: Algorithm) {
    this.#client = client;
    this.#algorithm = algorithm;
    this.#cache = new Cache(client, server);
    this.#random = new Random(client.world.seed, `classic ${client.index}`);
    this.#me = {
      name: client.name,
      lease: client.world.settings.lease,
      clock: () => client.wallClock(),
      now: () => client.now(),
    };
  }

  *acquire(): Task<Held | undefined> {
    const client = this.#client;
    const { wait } = client.world.settings;
    const end = wait === undefined ? Number.POSITIVE_INFINITY : client.now() + wait;
    client.waits('asks', `${client.name} asks for the lock.`);
    for (;;) {
      const mine = yield* attempt(this.#algorithm.acquire(this.#cache, this.#me) as Task<Mine | undefined>, undefined);
      if (mine) return this.#held(mine);
      if (client.now() >= end) {
        client.mark('told', 'gave up', `${client.name} gives up: the wait is over.`);
        return undefined;
      }
      client.waits('taken', `${client.name} did not get the lock, and asks again and again.`);
      yield* client.sleep(this.#random.between(200, 320));
    }
  }

  #held(mine: Mine): Held {
    const client = this.#client;
    const algorithm = this.#algorithm;
    const [cache, me] = [this.#cache, this.#me];
    return {
      sharing: 'alone',
      token: undefined,
      label: 'holds',
      text: `${client.name} holds the lock, as far as the client can tell.`,
      validUntil: () => mine.validUntil ?? Number.POSITIVE_INFINITY,
      *renew() {
        const stands = yield* attempt(algorithm.renew(cache, me, mine) as Task<boolean>, true);
        if (stands) client.mark('renewed', '', `${client.name} has renewed, as far as the client can tell.`);
        else client.mark('lost', 'lost', `${client.name} learns that the lock is lost, and stops.`);
        return stands;
      },
      *release() {
        yield* attempt(algorithm.release(cache, me, mine) as Task<unknown>, undefined);
        client.mark('released', '', `${client.name} gives the lock back, as far as the client can tell.`);
      },
    };
  }
}

/** Runs a part of a lock; `otherwise` if the cache did not answer. */
function* attempt<T>(task: Task<T>, otherwise: T): Task<T> {
  try {
    return yield* task;
  } catch (error) {
    if (error instanceof NoAnswer) return otherwise;
    throw error;
  }
}

function ttl(milliseconds: number) {
  return { tag: 'after' as const, val: nanos(milliseconds) };
}

function content(value: unknown, milliseconds: number) {
  return { value: new TextEncoder().encode(JSON.stringify(value)), ttl: ttl(milliseconds) };
}

function written(answer: Answer): Version | undefined {
  return !Array.isArray(answer) && 'tag' in answer && answer.tag === 'written' ? answer.val : undefined;
}
