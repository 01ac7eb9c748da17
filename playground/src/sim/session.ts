// A session of kvlock: an owner, in an instance of the component of its own.

import type { Session } from '../../generated/interfaces/kvlock-lock-mutex.js';
import type { Root } from '../../generated/kvlock.js';
import type { Client } from './client.ts';
import { type Answered, Component, type Instances, type Result } from './component.ts';
import { millis, nanos, type Request } from './contents.ts';
import type { Outcome } from './network.ts';
import type { Task } from './process.ts';
import { Random } from './random.ts';
import type { Server } from './server.ts';
import { noteWaiters, sayAnswer, sayRequest } from './words.ts';

/** Where the component's clocks stand when the run begins. */
const MONOTONIC = nanos(3_600_000);
const UNIX = 1_767_225_600_000_000_000n;

/** What the network does to a request, in the component's words. */
const TROUBLE = {
  unavailable: { tag: 'unavailable' as const, val: 'connection refused' },
  'unknown-outcome': { tag: 'unknown-outcome' as const, val: 'no answer in time' },
};

export class KvlockSession {
  readonly client: Client;
  readonly component: Component;
  readonly #server: Server;
  #session: Session;
  #clockError: number;

  /** Opens a session; `life` tells the lives of a process apart. */
  constructor(client: Client, server: Server, instances: Instances, life: number) {
    this.client = client;
    this.#server = server;
    const random = new Random(client.world.seed, `component ${client.index} ${life}`);
    this.component = new Component(instances, {
      now: () => MONOTONIC + nanos(client.now()),
      random: () => random.bits64(),
      ask: (request) => this.#ask(request),
      sleep: (nanoseconds) => client.sleep(millis(nanoseconds)),
    });
    this.#clockError = client.clockError;
    this.#session = this.#open();
  }

  /** The component's session: another one once somebody has set the clock, which it read when it opened. */
  session(): Session {
    if (this.client.clockError !== this.#clockError) {
      this.#clockError = this.client.clockError;
      this.#session = this.#open();
    }
    return this.#session;
  }

  exports(): Root {
    return this.component.exports;
  }

  /** Makes a call that may ask the store. */
  call<T, E = never>(call: () => T): Task<Result<T, E>> {
    return this.component.call<T, E>(call);
  }

  #open(): Session {
    const { name, world, clockError } = this.client;
    const quarantine = nanos(world.settings.quarantine);
    const unixTime = UNIX + nanos(world.schedule.now() + clockError);
    const options = { owner: name, label: 'playground', namespace: 'kvlock', quarantine, unixTime };
    return this.component.exports.mutex.Session.open(options);
  }

  *#ask(request: Request): Task<Answered> {
    const { index, name, lane, world } = this.client;
    const outcome: Outcome<Answered> = yield world.network.ask<Answered>({
      client: index,
      from: lane,
      to: this.#server.lane,
      ...sayRequest(name, request),
      faults: ['lose-request', 'lose-reply', 'delay-request'],
      execute: () => {
        noteWaiters(name, request, world.trace.waiters);
        const answer = this.#server.execute(request);
        return answer && { answer, ...sayAnswer(request, answer, world.trace.waiters) };
      },
    });
    return 'ok' in outcome ? outcome.ok : { error: TROUBLE[outcome.error] };
  }
}
