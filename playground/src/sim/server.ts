// A server of the simulated store: its contents, and whether it is up. It records what it has under the lock's keys.

import { type Answer, Contents, millis, nanos, type Request, type StoreError } from './contents.ts';
import type { Schedule } from './schedule.ts';
import type { Span, Trace } from './trace.ts';
import { isDrawn, readRecord, tokenOf } from './words.ts';

/** How long a server that is restarted is away. */
const RESTART = 700;

export class Server {
  readonly lane: number;
  readonly #schedule: Schedule;
  readonly #trace: Trace;
  readonly #contents: Contents;
  readonly #quarantine: number;
  readonly #records = new Map<string, { span: Span; version: bigint }>();
  #isUp = true;
  #down: Span | undefined;
  #young: Span | undefined;

  /** A server of whose loss nobody has heard; with a quarantine of zero none is drawn. */
  constructor(schedule: Schedule, trace: Trace, name: string, era: bigint, quarantine: number) {
    this.#schedule = schedule;
    this.#trace = trace;
    this.#contents = new Contents(era);
    this.#quarantine = quarantine;
    this.lane = trace.lane({ kind: 'server', name });
  }

  isUp(): boolean {
    return this.#isUp;
  }

  /** Carries out a request; nothing if the server is down. */
  execute(request: Request): { ok: Answer } | { error: StoreError } | undefined {
    if (!this.#isUp) return undefined;
    const answered = this.#contents.execute(request, this.#now());
    if (request.op !== 'get-many' && isDrawn(request.key)) this.#record(request.key);
    return answered;
  }

  kill(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#forget();
    this.#down = this.#open('down', 'down', 'The server is down, and what was in its memory is gone.');
    this.#mark('The server is killed: it forgets every lock.');
  }

  start(): void {
    if (this.#isUp) return;
    this.#isUp = true;
    if (this.#down) this.#down.to = this.#schedule.now();
    this.#begin('The server starts, empty. Whether a lock was held before, it cannot know.');
  }

  restart(): void {
    this.kill();
    this.#schedule.at(this.#schedule.now() + RESTART, () => this.start());
  }

  flush(): void {
    if (!this.#isUp) return;
    this.#forget();
    this.#begin('The server is flushed: it forgets every lock, and says so to nobody.');
  }

  /** Evicts the records of the lock, as a cache does for want of memory. */
  evict(): void {
    const held = [...this.#records.keys()].filter((key) => this.#contents.evict(key));
    for (const key of held) this.#record(key);
    this.#mark(
      held.length > 0 ? 'The cache is full and evicts the lock.' : 'The cache is full, and has no lock to evict.',
    );
  }

  /** Deletes the lock as a person at a terminal does. */
  delete(key: string): void {
    this.#contents.evict(key);
    this.#record(key);
  }

  #now(): bigint {
    return nanos(this.#schedule.now());
  }

  #mark(text: string): void {
    this.#trace.mark({ lane: this.lane, kind: 'fault', time: this.#schedule.now(), label: '', text });
  }

  #open(kind: 'down' | 'quarantine', label: string, text: string): Span {
    return this.#trace.span({
      lane: this.lane,
      kind,
      from: this.#schedule.now(),
      to: Number.POSITIVE_INFINITY,
      label,
      text,
    });
  }

  #forget(): void {
    const now = this.#schedule.now();
    for (const { span } of this.#records.values()) span.to = Math.min(span.to, now);
    this.#records.clear();
    if (this.#young) this.#young.to = Math.min(this.#young.to, now);
  }

  #begin(text: string): void {
    const now = this.#schedule.now();
    this.#contents.loseEverything(this.#now());
    const label = `era ${this.#contents.era()}`;
    this.#trace.mark({ lane: this.lane, kind: 'era', time: now, label, text: `${text} A new era begins.` });
    if (this.#quarantine === 0) return;
    const why = 'Quarantine: a lock that the server forgot may still be in use, until the longest lease is over.';
    this.#young = this.#open('quarantine', 'quarantine', why);
    this.#young.to = now + this.#quarantine;
  }

  /** Draws what is under a key from now on. */
  #record(key: string): void {
    const now = this.#schedule.now();
    const entry = this.#contents.look(key, this.#now());
    const present = this.#records.get(key);
    const left = entry?.timeLeft?.tag === 'after' ? millis(entry.timeLeft.val) : Number.POSITIVE_INFINITY;
    const version = entry && tokenOf(entry.version);
    if (present && version === present.version && present.span.to > now) {
      // A touch changes no version.
      present.span.to = now + left;
      return;
    }
    if (present) present.span.to = Math.min(present.span.to, now);
    this.#records.delete(key);
    if (!entry || version === undefined) return;
    const span = this.#trace.span({
      lane: this.lane,
      from: now,
      to: now + left,
      ...readRecord(key, entry, this.#trace.waiters),
    });
    this.#records.set(key, { span, version });
  }
}
