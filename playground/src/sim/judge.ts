// Who believes to hold the lock, and whether that is one too many. The judge sees all clients at once, which no client
// can.

import type { Schedule } from './schedule.ts';
import type { Overlap, Span, Trace } from './trace.ts';

/** How a client holds: alone, or with others. */
export type Sharing = 'alone' | 'reader' | 'permit';

/** What a client believes to hold. */
export class Hold {
  readonly client: number;
  readonly sharing: Sharing;
  readonly span: Span;
  /** The order of the grants, which the judge knows even where there is no token. */
  readonly order: number;
  isOpen = true;
  isFrozen = false;

  constructor(client: number, sharing: Sharing, span: Span, order: number) {
    this.client = client;
    this.sharing = sharing;
    this.span = span;
    this.order = order;
  }
}

export class Judge {
  readonly #schedule: Schedule;
  readonly #trace: Trace;
  readonly #size: number;
  readonly #open = new Set<Hold>();
  #orders = 0;
  #overlap: Overlap | undefined;

  constructor(schedule: Schedule, trace: Trace, size: number) {
    this.#schedule = schedule;
    this.#trace = trace;
    this.#size = size;
  }

  /** A client begins to believe that it holds. */
  begin(lane: number, client: number, sharing: Sharing, label: string, text: string): Hold {
    const from = this.#schedule.now();
    const span = this.#trace.span({ lane, kind: 'hold', from, to: Number.POSITIVE_INFINITY, label, text, client });
    const hold = new Hold(client, sharing, span, ++this.#orders);
    this.#open.add(hold);
    this.#look();
    return hold;
  }

  /** It believes so no more. */
  end(hold: Hold): void {
    if (!hold.isOpen) return;
    hold.isOpen = false;
    hold.span.to = this.#schedule.now();
    this.#open.delete(hold);
    this.#look();
  }

  /** A client that is killed believes nothing. */
  drop(client: number): void {
    for (const hold of [...this.#open]) if (hold.client === client) this.end(hold);
  }

  /** A client that is frozen does nothing, whatever it believes. */
  freeze(client: number, isFrozen: boolean): void {
    for (const hold of this.#open) if (hold.client === client) hold.isFrozen = isFrozen;
    this.#look();
  }

  #look(): void {
    const now = this.#schedule.now();
    const active = [...this.#open].filter((hold) => !hold.isFrozen);
    const clients = this.#isTooMany(active) ? active.map((hold) => hold.client).sort() : [];
    const present = this.#overlap;
    if (present && present.clients.join() === clients.join()) return;
    if (present) {
      present.to = now;
      // Two that changed places in one moment were never there together.
      if (present.from === now) this.#trace.overlaps.splice(this.#trace.overlaps.indexOf(present), 1);
    }
    this.#overlap = undefined;
    if (clients.length === 0) return;
    this.#overlap = { from: now, to: Number.POSITIVE_INFINITY, clients };
    this.#trace.overlaps.push(this.#overlap);
  }

  #isTooMany(active: Hold[]): boolean {
    const of = (sharing: Sharing) => active.filter((hold) => hold.sharing === sharing).length;
    return of('permit') > this.#size || of('alone') > 1 || (of('alone') > 0 && of('reader') > 0);
  }
}
