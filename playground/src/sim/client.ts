// A client as the world sees it: a process, a lane, and what it does under the lock.

import type { Judge, Sharing } from './judge.ts';
import type { Network, Outcome, Reply } from './network.ts';
import { type Process, sleep, type Task } from './process.ts';
import type { Resource, Verdict, Write } from './resource.ts';
import type { Schedule } from './schedule.ts';
import type { Settings } from './settings.ts';
import type { MarkKind, Span, Trace } from './trace.ts';

/** What all clients of a world share. */
export type World = {
  schedule: Schedule;
  trace: Trace;
  network: Network;
  judge: Judge;
  resource: Resource;
  resourceLane: number;
  settings: Settings;
  seed: number;
};

/** A grant as a worker uses it. */
export type Held = {
  sharing: Sharing;
  token: bigint | undefined;
  label: string;
  /** What the client knows, for people. */
  text: string;
  /** Until when the grant is surely valid; Infinity for a lock that cannot tell. */
  validUntil: () => number;
  /** Renews it; false if it is lost. */
  renew: () => Task<boolean>;
  release: () => Task<void>;
};

/** A lock as a worker uses it. */
export type Lock = {
  /** Waits for the lock; nothing if the wait is over. */
  acquire: () => Task<Held | undefined>;
};

export class Client {
  readonly world: World;
  readonly index: number;
  readonly name: string;
  readonly process: Process;
  readonly lane: number;
  /** How wrong its wall clock is, in milliseconds. */
  clockError = 0;
  #waiting: Span | undefined;

  constructor(world: World, index: number, name: string, process: Process, lane: number) {
    this.world = world;
    this.index = index;
    this.name = name;
    this.process = process;
    this.lane = lane;
  }

  now(): number {
    return this.world.schedule.now();
  }

  /** Milliseconds since the run began, as its wall clock has them. */
  wallClock(): number {
    return this.now() + this.clockError;
  }

  sleep(milliseconds: number): Task<void> {
    return sleep(this.world.schedule, milliseconds);
  }

  mark(kind: MarkKind, label: string, text: string): void {
    this.world.trace.mark({ lane: this.lane, kind, time: this.now(), label, text, client: this.index });
  }

  /** Shows that it waits, and for what. */
  waits(label: string, text: string): void {
    if (this.#waiting?.label === label && this.#waiting.text === text) return;
    this.waitsNoMore();
    const to = Number.POSITIVE_INFINITY;
    const { lane, index } = this;
    this.#waiting = this.world.trace.span({ lane, kind: 'wait', from: this.now(), to, label, text, client: index });
  }

  waitsNoMore(): void {
    if (this.#waiting) this.#waiting.to = this.now();
    this.#waiting = undefined;
  }

  /** Writes to what the lock guards. */
  *write(write: Omit<Write, 'client'>): Task<Outcome<Verdict>> {
    const { resource, resourceLane, trace, schedule } = this.world;
    const { token } = write;
    const shows = token === undefined ? 'and has no token to show' : `and shows token ${token}`;
    return yield* this.#ask(resourceLane, 'write', `${this.name} writes, ${shows}.`, () => {
      const verdict = resource.write(this.name, { client: this.index, ...write });
      const label = token === undefined ? '' : String(token);
      const mark = { lane: resourceLane, time: schedule.now(), label, text: verdict.text, client: this.index };
      trace.mark({ ...mark, kind: verdict.kind });
      return { answer: verdict, label: verdict.kind, text: verdict.text, isQuiet: false };
    });
  }

  /** Reads what the lock guards. */
  *read(): Task<Outcome<number>> {
    const { resource, resourceLane, trace, schedule } = this.world;
    return yield* this.#ask(resourceLane, 'read', `${this.name} reads.`, () => {
      const text = `${this.name} reads version ${resource.version()}.`;
      trace.mark({ lane: resourceLane, kind: 'read', time: schedule.now(), label: '', text, client: this.index });
      return { answer: resource.version(), label: 'read', text, isQuiet: false };
    });
  }

  *#ask<T>(to: number, label: string, text: string, execute: () => Reply<T>): Task<Outcome<T>> {
    const { lane: from, index: client } = this;
    return yield this.world.network.ask<T>({ client, from, to, label, text, faults: ['delay-write'], execute });
  }
}
