// Virtual time: what happens next, in which order. All times are whole milliseconds since the run began.

type Happening = { time: number; rank: number; order: number; act: () => void };

/** The events to come. Events of one time happen in the order in which they were planned, the visitor's first. */
export class Schedule {
  #heap: Happening[] = [];
  #planned = 0;
  #now = 0;

  /** Returns the present time. */
  now(): number {
    return this.#now;
  }

  /** Plans `act` for a time; a time that has passed counts as now. */
  at(time: number, act: () => void): void {
    this.#push({ time: Math.max(Math.ceil(time), this.#now), rank: 1, order: this.#planned++, act });
  }

  /** Plans what the visitor does: it comes before all else of that time. */
  first(time: number, act: () => void): void {
    this.#push({ time, rank: 0, order: this.#planned++, act });
  }

  /** Lets everything happen up to and including `time`. */
  runTo(time: number): void {
    for (let next = this.#heap[0]; next !== undefined && next.time <= time; next = this.#heap[0]) {
      this.#pop();
      this.#now = next.time;
      next.act();
    }
    this.#now = Math.max(this.#now, time);
  }

  #push(happening: Happening): void {
    const heap = this.#heap;
    let at = heap.push(happening) - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!isBefore(happening, heap[parent] as Happening)) break;
      heap[at] = heap[parent] as Happening;
      at = parent;
    }
    heap[at] = happening;
  }

  #pop(): void {
    const heap = this.#heap;
    const last = heap.pop() as Happening;
    if (heap.length === 0) return;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Happening, heap[child] as Happening)) child++;
      if (!isBefore(heap[child] as Happening, last)) break;
      heap[at] = heap[child] as Happening;
      at = child;
    }
    heap[at] = last;
  }
}

function isBefore(one: Happening, other: Happening): boolean {
  if (one.time !== other.time) return one.time < other.time;
  return one.rank !== other.rank ? one.rank < other.rank : one.order < other.order;
}
