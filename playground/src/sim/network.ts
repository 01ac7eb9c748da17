// The network between clients and servers: it takes its time, loses and delays. What it does to a message follows from
// the seed and from the faults that the visitor ordered.

import type { Effect } from './process.ts';
import { Random } from './random.ts';
import type { Schedule } from './schedule.ts';
import type { Trace } from './trace.ts';

/** How long a message is under way, in milliseconds: slow enough to be seen. */
const FASTEST = 40;
const SLOWEST = 110;

/** After this long a client takes an answer for lost. */
export const TIMEOUT = 1000;

/** How much longer than a lease a message is under way that the visitor delays, in milliseconds. */
const OVERTIME = 1000;

/** What may happen to the next message. */
export type Fault = 'lose-request' | 'lose-reply' | 'delay-request' | 'delay-write';

/** What an exchange came to. */
export type Outcome<T> = { ok: T } | { error: 'unavailable' | 'unknown-outcome' };

/** What a server says to a request: nothing if it is down. */
export type Reply<T> = { answer: T; label: string; text: string; isQuiet: boolean } | undefined;

export type Exchange<T> = {
  client: number;
  from: number;
  to: number;
  label: string;
  text: string;
  /** The faults that this kind of message is subject to. */
  faults: Fault[];
  execute: () => Reply<T>;
};

export class Network {
  readonly #schedule: Schedule;
  readonly #trace: Trace;
  readonly #delays: Random[] = [];
  readonly #faults: Fault[][] = [];
  readonly #seed: number;
  readonly #lease: number;

  constructor(schedule: Schedule, trace: Trace, seed: number, lease: number) {
    this.#schedule = schedule;
    this.#trace = trace;
    this.#seed = seed;
    this.#lease = lease;
  }

  /** Does something to the next message of a client that it can be done to. */
  order(client: number, fault: Fault): void {
    this.#of(client).push(fault);
  }

  /** Sends a request, and waits for its answer as long as a client does. */
  ask<T>(exchange: Exchange<T>): Effect {
    return (resume) => this.#send(exchange, resume);
  }

  #of(client: number): Fault[] {
    this.#faults[client] ??= [];
    return this.#faults[client];
  }

  #draw(client: number): number {
    this.#delays[client] ??= new Random(this.#seed, `network ${client}`);
    return this.#delays[client].between(FASTEST, SLOWEST);
  }

  #take(exchange: Exchange<unknown>): Fault | undefined {
    const ordered = this.#of(exchange.client);
    const at = ordered.findIndex((fault) => exchange.faults.includes(fault));
    return at < 0 ? undefined : ordered.splice(at, 1)[0];
  }

  #send<T>(exchange: Exchange<T>, resume: (outcome: Outcome<T>) => void): void {
    const schedule = this.#schedule;
    const { client, from, to, label, text } = exchange;
    const fault = this.#take(exchange);
    const [there, back] = [this.#draw(client), this.#draw(client)];
    const isDelayed = fault === 'delay-request' || fault === 'delay-write';
    const left = schedule.now();
    const arrives = left + there + (isDelayed ? this.#lease + OVERTIME : 0);
    let isSettled = false;
    const settle = (outcome: Outcome<T>) => {
      if (isSettled) return;
      isSettled = true;
      resume(outcome);
    };
    const isLost = fault === 'lose-request';
    const how = isLost
      ? ' It is lost on the way.'
      : isDelayed
        ? ' The network holds it back for longer than a lease.'
        : '';
    const fate = isLost ? 'lost' : 'arrives';
    const isQuiet = !isLost && !isDelayed;
    const request = { from, to, left, arrives, fate, isReply: false, isDelayed, isQuiet, client, label } as const;
    const sent = this.#trace.message({ ...request, text: text + how });
    if (isLost) this.#tell(from, client, sent.text);
    schedule.at(left + TIMEOUT, () => settle({ error: 'unknown-outcome' }));
    if (isLost) return;
    schedule.at(arrives, () => {
      const reply = exchange.execute();
      const now = schedule.now();
      const home = {
        from: to,
        to: from,
        left: now,
        arrives: now + back,
        isReply: true,
        isDelayed: false,
        isQuiet: false,
        client,
      };
      if (!reply) {
        const text = 'Nobody listens there: the connection is refused.';
        this.#trace.message({ ...home, fate: 'refused', label: 'refused', text });
        schedule.at(now + back, () => settle({ error: 'unavailable' }));
        return;
      }
      sent.isQuiet &&= reply.isQuiet;
      const isLost = fault === 'lose-reply';
      if (isLost) this.#tell(to, client, `${text} ${reply.text} But this reply is lost.`);
      if (isDelayed) this.#tell(to, client, `What was held back arrives now: ${text} ${reply.text}`);
      const isTooLate = isSettled || now + back > left + TIMEOUT;
      const how = isLost ? ' This reply is lost.' : isTooLate ? ' Nobody waits for this reply any more.' : '';
      const fate = isLost ? 'lost' : isTooLate ? 'ignored' : 'arrives';
      const isQuiet = reply.isQuiet && fate === 'arrives';
      this.#trace.message({ ...home, isQuiet, fate, label: reply.label, text: reply.text + how });
      if (fate === 'arrives') schedule.at(now + back, () => settle({ ok: reply.answer }));
    });
  }

  /** Says what the network has done. */
  #tell(lane: number, client: number, text: string): void {
    this.#trace.mark({ lane, kind: 'fault', time: this.#schedule.now(), label: '', text, client });
  }
}
