// Processes that can be frozen and killed. What a process does is a generator: it yields whenever it waits, for time to
// pass or for an answer, and goes on when that comes, unless the process is frozen by then.

import type { Schedule } from './schedule.ts';

/** Begins to wait, and calls `resume` once when the wait is over. */
// biome-ignore lint/suspicious/noExplicitAny: a generator is resumed with whatever its own effect yields.
export type Effect = (resume: (value?: any) => void) => void;

/** Work that waits by yielding. */
// biome-ignore lint/suspicious/noExplicitAny: see Effect.
export type Task<T> = Generator<Effect, T, any>;

export class Process {
  readonly schedule: Schedule;
  #life = 0;
  #isAlive = true;
  #isFrozen = false;
  #backlog: (() => void)[] = [];

  constructor(schedule: Schedule) {
    this.schedule = schedule;
  }

  isAlive(): boolean {
    return this.#isAlive;
  }

  isFrozen(): boolean {
    return this.#isFrozen;
  }

  /** Starts a task beside those that run. */
  spawn(task: Task<unknown>): void {
    const life = this.#life;
    const step = (value?: unknown) => {
      if (life !== this.#life || !this.#isAlive) return;
      const { done, value: effect } = task.next(value);
      if (!done) (effect as Effect)(once((answer) => this.#deliver(() => step(answer))));
    };
    step();
  }

  /** Stops the process as SIGSTOP does, or a pause of a garbage collector: its clock runs on. */
  freeze(): void {
    this.#isFrozen = true;
  }

  /** Lets it run on: what came meanwhile is dealt with now, in its order. */
  thaw(): void {
    this.#isFrozen = false;
    while (this.#backlog.length > 0 && !this.#isFrozen) this.#backlog.shift()?.();
  }

  /** Ends the process without a word to anybody. */
  kill(): void {
    this.#isAlive = false;
    this.#isFrozen = false;
    this.#backlog = [];
    this.#life++;
  }

  /** Starts it once more, with nothing of what it knew. */
  start(): void {
    this.#isAlive = true;
  }

  #deliver(act: () => void): void {
    if (this.#isFrozen) this.#backlog.push(act);
    else act();
  }
}

/** Waits so many milliseconds. */
export function* sleep(schedule: Schedule, milliseconds: number): Task<void> {
  yield (resume) => schedule.at(schedule.now() + milliseconds, resume);
}

/** Lets one task in at a time, in the order in which they came. */
export class Turnstile {
  #isTaken = false;
  #queue: (() => void)[] = [];

  *enter<T>(task: () => Task<T>): Task<T> {
    while (this.#isTaken) yield (resume) => this.#queue.push(resume);
    this.#isTaken = true;
    try {
      return yield* task();
    } finally {
      this.#isTaken = false;
      this.#queue.shift()?.();
    }
  }
}

function once(act: (value?: unknown) => void): (value?: unknown) => void {
  let isDone = false;
  return (value) => {
    if (isDone) return;
    isDone = true;
    act(value);
  };
}
