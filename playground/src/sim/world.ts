// A world: clients, a network, servers, a resource, and what the visitor does to them. A run is a function of its setup,
// settings, seed and deeds.

import { CLASSICS } from '../classic/index.ts';
import { ClassicLock } from './classic.ts';
import { Client, type World as Shared } from './client.ts';
import type { Instances } from './component.ts';
import { Judge } from './judge.ts';
import { KEY, Kvlock } from './kvlock.ts';
import { Line } from './line.ts';
import { type Fault, Network } from './network.ts';
import { Process } from './process.ts';
import { Resource } from './resource.ts';
import { outsider, retryWorker } from './retry.ts';
import { Schedule } from './schedule.ts';
import { Server } from './server.ts';
import { KvlockSession } from './session.ts';
import {
  type ClientAction,
  type Deed,
  type Kind,
  NAMES,
  type ServerAction,
  type Settings,
  type Setup,
} from './settings.ts';
import { type Span, Trace } from './trace.ts';
import { worker } from './worker.ts';

/** How wrong a clock is that the visitor set, in milliseconds. */
const CLOCK_ERROR = 3_600_000;

/** The first eras of the servers: a second server began later. */
const ERAS = [1000n, 5000n];

/** The number that the operator's messages go by. */
const OPERATOR = NAMES.length;

/** A process and the sessions in it. */
type House = { process: Process; line: Line | undefined; clients: Client[]; lives: number };

export class World {
  readonly trace = new Trace();
  readonly kind: Kind;
  readonly #schedule = new Schedule();
  readonly #shared: Shared;
  readonly #setup: Setup;
  readonly #instances: Instances;
  readonly #servers: Server[];
  readonly #houses: House[] = [];
  readonly #clients: Client[] = [];
  readonly #covers: [House, Span][] = [];
  readonly #sessions: KvlockSession[] = [];
  #operator: Client | undefined;

  constructor(setup: Setup, settings: Settings, seed: number, deeds: Deed[], instances: Instances) {
    this.kind = settings.kind;
    this.#setup = setup;
    this.#instances = instances;
    const [schedule, trace] = [this.#schedule, this.trace];
    const isKvlock = setup.lock === 'kvlock';
    const two = isKvlock && setup.servers === 2;
    const quarantine = isKvlock ? settings.quarantine : 0;
    const names = two ? ['Server 1', 'Server 2'] : ['Server'];
    this.#servers = names.map((name, at) => new Server(schedule, trace, name, ERAS[at] ?? 0n, quarantine));
    const size = settings.kind === 'semaphore' ? settings.permits : 1;
    this.#shared = {
      schedule,
      trace,
      network: new Network(schedule, trace, seed, settings.lease),
      judge: new Judge(schedule, trace, size),
      resource: new Resource(!isKvlock || setup.isFenced),
      resourceLane: -1,
      settings,
      seed,
    };
    this.#settle();
    this.#shared.resourceLane = trace.lane({ kind: 'resource', name: 'Resource' });
    for (const house of this.#houses) this.#begin(house);
    for (const deed of deeds) this.do(deed);
  }

  /** Returns the time up to which the world has run. */
  now(): number {
    return this.#schedule.now();
  }

  /** Lets the world run up to a time. */
  runTo(time: number): void {
    this.#schedule.runTo(Math.floor(time));
  }

  /** Gives back what it uses; it does not run any more. */
  close(): void {
    for (const session of this.#sessions) session.component.close();
  }

  /** Plans what the visitor does: at a time that has not come yet. */
  do(deed: Deed): void {
    this.#schedule.first(deed.time, () => {
      if ('client' in deed) this.#toClient(deed.action, deed.client);
      else this.#toServer(deed.action);
    });
  }

  /** Makes the processes and their clients. */
  #settle(): void {
    const { settings } = this.#shared;
    const houses = settings.kind === 'handover' ? Math.min(2, settings.clients) : settings.clients;
    const each = Math.ceil(settings.clients / houses);
    for (let at = 0; at < settings.clients; at++) {
      const number = Math.floor(at / each);
      this.#houses[number] ??= {
        process: new Process(this.#schedule),
        line: settings.kind === 'handover' ? new Line() : undefined,
        clients: [],
        lives: 0,
      };
      const house = this.#houses[number];
      const name = NAMES[at] ?? `Client ${at + 1}`;
      const lane = this.trace.lane({ kind: 'client', name, client: at, process: number });
      const client = new Client(this.#shared, at, name, house.process, lane);
      house.clients.push(client);
      this.#clients.push(client);
    }
  }

  /** Starts what the clients of a process do. */
  #begin(house: House): void {
    house.lives++;
    house.line?.clear();
    for (const client of house.clients) house.process.spawn(this.#work(client, house));
  }

  #work(client: Client, house: House) {
    const { kind, clients } = this.#shared.settings;
    const server = this.#serverOf(client);
    const setup = this.#setup;
    if (setup.lock !== 'kvlock') return worker(client, new ClassicLock(client, server, CLASSICS[setup.lock].algorithm));
    if (kind === 'retry' && client.index === clients - 1 && clients > 1) return outsider(client);
    const session = this.#open(client, server, house.lives);
    return kind === 'retry' ? retryWorker(session) : worker(client, new Kvlock(session, house.line));
  }

  #open(client: Client, server: Server, life: number): KvlockSession {
    const session = new KvlockSession(client, server, this.#instances, life);
    this.#sessions.push(session);
    return session;
  }

  /** With two servers the odd clients were given the wrong one. */
  #serverOf(client: Client): Server {
    return this.#servers[client.index % this.#servers.length] as Server;
  }

  #toServer(action: ServerAction): void {
    const server = this.#servers[0] as Server;
    const acts: Record<ServerAction, () => void> = {
      kill: () => server.kill(),
      start: () => server.start(),
      restart: () => server.restart(),
      flush: () => server.flush(),
      evict: () => {
        if (this.#setup.lock !== 'kvlock' || this.#setup.evicts) server.evict();
      },
      break: () => this.#break(server),
    };
    acts[action]();
  }

  /** Breaks the lock, as an operator does. */
  #break(server: Server): void {
    const time = this.#schedule.now();
    if (this.#setup.lock !== 'kvlock') {
      server.delete(KEY);
      this.trace.mark({
        lane: server.lane,
        kind: 'fault',
        time,
        label: '',
        text: 'You delete the lock at a terminal.',
      });
      return;
    }
    if (!this.#operator) {
      const lane = this.trace.lane({ kind: 'operator', name: 'You' });
      this.#operator = new Client(this.#shared, OPERATOR, 'You', new Process(this.#schedule), lane);
    }
    const you = this.#operator;
    const session = this.#open(you, server, time);
    you.mark('fault', 'break', 'You break the lock: whoever has it loses it.');
    you.process.spawn(
      (function* () {
        const owner = session.session();
        const broken = yield* session.call(() => owner.break(KEY, undefined));
        if ('error' in broken) you.mark('told', 'no answer', 'The break was not answered.');
        else if (broken.ok.tag === 'ended') {
          const text = `${broken.ok.val.owner} has lost the lock by force, and learns it at its next call.`;
          you.mark('told', 'broken', text);
        } else you.mark('told', 'free', 'Nobody had the lock.');
      })(),
    );
  }

  #toClient(action: ClientAction, index: number): void {
    const client = this.#clients[index];
    const house = client && this.#houses.find((house) => house.clients.includes(client));
    if (!client || !house) return;
    const onNetwork = (fault: Fault) => () => this.#shared.network.order(index, fault);
    const acts: Record<ClientAction, () => void> = {
      freeze: () => this.#freeze(house),
      thaw: () => this.#thaw(house),
      crash: () => this.#crash(house),
      revive: () => this.#revive(house),
      'lose-request': onNetwork('lose-request'),
      'lose-reply': onNetwork('lose-reply'),
      'delay-request': onNetwork('delay-request'),
      'delay-write': onNetwork('delay-write'),
      clock: () => {
        client.clockError += CLOCK_ERROR;
        client.mark('fault', 'clock', `${client.name}'s clock is set an hour ahead.`);
      },
    };
    acts[action]();
  }

  #freeze(house: House): void {
    if (!house.process.isAlive() || house.process.isFrozen()) return;
    house.process.freeze();
    this.#cover(house, 'frozen', 'frozen', 'is frozen: nothing in it runs, and its clock runs on.');
    for (const client of house.clients) this.#shared.judge.freeze(client.index, true);
  }

  #thaw(house: House): void {
    if (!house.process.isFrozen()) return;
    this.#uncover(house);
    for (const client of house.clients) {
      client.mark('fault', 'thaws', `${client.name} runs on, and does not know how long it was stopped.`);
      this.#shared.judge.freeze(client.index, false);
    }
    house.process.thaw();
  }

  #crash(house: House): void {
    if (!house.process.isAlive()) return;
    this.#uncover(house);
    house.process.kill();
    for (const client of house.clients) {
      client.waitsNoMore();
      this.#shared.judge.drop(client.index);
    }
    this.#cover(house, 'dead', 'killed', 'is killed, and told nobody.');
  }

  #revive(house: House): void {
    if (house.process.isAlive()) return;
    this.#uncover(house);
    house.process.start();
    for (const client of house.clients)
      client.mark('fault', 'starts', `${client.name} starts again, and knows nothing.`);
    this.#begin(house);
  }

  #cover(house: House, kind: 'frozen' | 'dead', label: string, text: string): void {
    const from = this.#schedule.now();
    for (const { lane, name, index } of house.clients) {
      const span = { lane, kind, from, to: Number.POSITIVE_INFINITY, label, text: `${name} ${text}`, client: index };
      this.#covers.push([house, this.trace.span(span)]);
      this.trace.mark({ lane, kind: 'fault', time: from, label, text: span.text, client: index });
    }
  }

  #uncover(house: House): void {
    const now = this.#schedule.now();
    for (const [of, span] of this.#covers) if (of === house && span.to > now) span.to = now;
  }
}
