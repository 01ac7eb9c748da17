// A world on the page: its drawing, its counters, and in words what happens.

import type { Described } from '../setups.ts';
import type { Kind } from '../sim/settings.ts';
import { type Mark, type MarkKind, type Score, score, type Trace } from '../sim/trace.ts';
import type { World } from '../sim/world.ts';
import { make, say } from './dom.ts';
import { Drawing, isSame, type View } from './drawing.ts';
import { type Item, roomFor } from './layout.ts';

const HINT = 'Nothing has happened yet.';

/** What is worth a sentence while time runs. */
const NEWS: MarkKind[] = [
  'grant',
  'lost',
  'refused',
  'stale',
  'fault',
  'era',
  'handed',
  'conflict',
  'told',
  'released',
];

/** How many sentences the list shows at most. */
const LOG = 60;

/** What a world does on the page. */
export type Hands = {
  choose: (client: number) => void;
  /** The visitor drags time, by so many pixels. */
  drag: (pixels: number) => void;
  /** Why this world may fail although kvlock holds; nothing if it may not. */
  excuse: (time: number) => string | undefined;
};

/** What the visitor has unfolded: it stays so in the next run. */
const unfolded: Record<string, boolean> = { words: innerWidth >= 900, code: false };

function unfolding(kind: string, title: string, content: HTMLElement): HTMLElement {
  const details = make('details', { class: kind }, make('summary', {}, title), content);
  details.open = unfolded[kind] ?? false;
  details.addEventListener('toggle', () => {
    unfolded[kind] = details.open;
  });
  return details;
}

export class Panel {
  readonly element: HTMLElement;
  world: World;
  readonly #drawing: Drawing;
  readonly #verdict = make('p', { class: 'verdict', role: 'status' });
  readonly #overlaps = make('strong', { class: 'overlaps' });
  readonly #stale = make('strong');
  readonly #refused = make('strong');
  readonly #grants = make('strong');
  readonly #now = make('p', { class: 'now' });
  readonly #inspector = make('p', { class: 'inspector', 'aria-live': 'off' }, HINT);
  readonly #tip = make('div', { class: 'tip', hidden: '' });
  readonly #log = make('ol', { class: 'log' });
  readonly #hands: Hands;
  readonly #excuse = make('p', { class: 'excuse', hidden: '' });
  #chosen: Item | undefined;
  #told: Mark[] = [];

  constructor(described: Described, world: World, hands: Hands) {
    this.world = world;
    this.#hands = hands;
    const name = described.name;
    const canvas = make('canvas', {
      tabindex: '0',
      role: 'img',
      'aria-label': `${name}: lanes of clients, server and resource over time. The arrow keys go from event to event.`,
    });
    this.#drawing = new Drawing(canvas);
    this.element = make(
      'article',
      { class: 'world', 'data-setup': name },
      make('header', {}, make('h3', {}, name), make('p', { class: 'note' }, described.note)),
      this.#verdict,
      this.#excuse,
      this.#counters(),
      make('div', { class: 'stage' }, canvas, this.#tip),
      this.#inspector,
      this.#now,
      unfolding('words', 'What happened, in words', this.#log),
    );
    if (described.code) {
      const code = make('pre', {}, make('code', {}, described.code));
      this.element.append(unfolding('code', 'The code of this lock', code));
    }
    this.#listen(canvas);
  }

  /** Returns how many pixels there are for time. */
  room(): number {
    return roomFor(this.#drawing.width());
  }

  show(view: View): void {
    const { time } = view;
    const { trace } = this.world;
    this.#drawing.draw(trace, view, this.#chosen);
    const counted = score(trace, time);
    this.#count(counted, trace, time);
    this.#tell(trace, time);
    this.#inspect(trace, time);
  }

  /** Says what is chosen; otherwise what happened last. */
  #inspect(trace: Trace, time: number): void {
    const last = trace.marks.findLast((mark) => mark.time <= time && NEWS.includes(mark.kind));
    const shown = this.#chosen ?? last;
    say(this.#inspector, shown ? `${(shown.time / 1000).toFixed(1)} s: ${shown.text}` : HINT);
  }

  #counters(): HTMLElement {
    const counter = (name: string, title: string, value: HTMLElement) =>
      make('div', { title }, value, make('span', {}, name));
    return make(
      'div',
      { class: 'counters' },
      counter(
        'moments with too many holders',
        'How often, and for how long, more clients held the lock than may',
        this.#overlaps,
      ),
      counter('late writes accepted', 'Writes of an old holder that overwrote newer data', this.#stale),
      counter('late writes refused', 'Writes that the resource refused because of an old token', this.#refused),
      counter('grants', 'How often a client got the lock', this.#grants),
    );
  }

  #count(counted: Score, trace: Trace, time: number): void {
    const { overlaps, overlapTime, stale, refused, grants, holders } = counted;
    const seconds = (overlapTime / 1000).toFixed(1);
    say(this.#overlaps, overlaps === 0 ? '0' : `${overlaps} (${seconds} s)`);
    say(this.#stale, String(stale));
    say(this.#refused, String(refused));
    say(this.#grants, String(grants));
    this.#overlaps.classList.toggle('bad', overlaps > 0);
    this.#stale.classList.toggle('bad', stale > 0);
    const isBad = overlaps > 0 || stale > 0;
    this.element.dataset.verdict = isBad ? 'failed' : 'holds';
    this.element.dataset.overlaps = String(overlaps);
    this.element.dataset.stale = String(stale);
    this.element.dataset.refused = String(refused);
    this.element.dataset.grants = String(grants);
    say(this.#verdict, sayVerdict(counted, this.world.kind));
    const excuse = isBad ? this.#hands.excuse(time) : undefined;
    this.#excuse.hidden = excuse === undefined;
    say(this.#excuse, excuse ?? '');
    const names = holders.map((client) => trace.lanes.find((lane) => lane.client === client)?.name ?? '?');
    const who =
      names.length === 0
        ? 'Nobody holds the lock'
        : `${names.join(' and ')} hold${names.length === 1 ? 's' : ''} the lock`;
    say(this.#now, `${who} at ${(time / 1000).toFixed(1)} s.`);
  }

  /** Lists what has happened so far, the last first. What the list has already stays in it. */
  #tell(trace: Trace, time: number): void {
    const told = trace.marks.filter((mark) => mark.time <= time).slice(-LOG);
    const before = this.#told;
    this.#told = told;
    const last = before.at(-1);
    const known = last ? told.lastIndexOf(last) + 1 : 0;
    if (last && known === 0) this.#log.replaceChildren();
    this.#log.prepend(...told.slice(known).reverse().map(sentence));
    while (this.#log.childElementCount > told.length) this.#log.lastElementChild?.remove();
  }

  #choose(item: Item | undefined): void {
    this.#chosen = item;
    // While time runs it would be read out without an end.
    this.#inspector.setAttribute('aria-live', item ? 'polite' : 'off');
  }

  #listen(canvas: HTMLCanvasElement): void {
    this.#listenToDrags(canvas);
    canvas.addEventListener('pointermove', (event) => {
      const item = this.#drawing.at(event.offsetX, event.offsetY);
      this.#showTip(item, event.offsetX, event.offsetY);
      if (item) this.#choose(item);
    });
    canvas.addEventListener('pointerleave', () => {
      this.#showTip(undefined, 0, 0);
      if (document.activeElement !== canvas) this.#choose(undefined);
    });
    canvas.addEventListener('click', (event) => {
      this.#choose(this.#drawing.at(event.offsetX, event.offsetY));
      const client = this.#drawing.laneAt(event.offsetY)?.lane.client;
      if (client !== undefined) this.#hands.choose(client);
    });
    canvas.addEventListener('keydown', (event) => {
      const next = this.#next(event.key);
      if (next === null) return;
      event.preventDefault();
      event.stopPropagation();
      this.#choose(next);
    });
    canvas.addEventListener('blur', () => this.#choose(undefined));
  }

  #listenToDrags(canvas: HTMLCanvasElement): void {
    let last: number | undefined;
    canvas.addEventListener('pointerdown', (event) => {
      last = event.clientX;
      canvas.setPointerCapture(event.pointerId);
    });
    canvas.addEventListener('pointermove', (event) => {
      if (last === undefined || event.buttons === 0) return;
      this.#hands.drag(last - event.clientX);
      last = event.clientX;
    });
    for (const end of ['pointerup', 'pointercancel']) {
      canvas.addEventListener(end, () => {
        last = undefined;
      });
    }
  }

  #showTip(item: Item | undefined, x: number, y: number): void {
    const tip = this.#tip;
    tip.hidden = !item;
    if (!item) return;
    say(tip, item.text);
    const { clientWidth, clientHeight } = this.#drawing.canvas;
    const left = Math.min(Math.max(0, x - tip.offsetWidth / 2), clientWidth - tip.offsetWidth);
    const top = y + 18 + tip.offsetHeight > clientHeight + 60 ? y - tip.offsetHeight - 12 : y + 18;
    tip.style.translate = `${left}px ${top}px`;
  }

  /** Where a key leads: undefined to nothing, null if the key leads nowhere. */
  #next(key: string): Item | undefined | null {
    const items = [...this.#drawing.items].sort((one, other) => one.time - other.time || one.lane - other.lane);
    const chosen = this.#chosen;
    const at = chosen ? items.findIndex((item) => isSame(item, chosen)) : -1;
    const present = items[at];
    switch (key) {
      case 'ArrowRight':
        return items[Math.min(at + 1, items.length - 1)];
      case 'ArrowLeft':
        return items[at < 0 ? items.length - 1 : Math.max(0, at - 1)];
      case 'Home':
        return items[0];
      case 'End':
        return items.at(-1);
      case 'Escape':
        return undefined;
      case 'ArrowUp':
      case 'ArrowDown': {
        if (!present) return items.at(-1);
        const above = key === 'ArrowUp';
        const lanes = items.filter((item) => (above ? item.lane < present.lane : item.lane > present.lane));
        const lane = above ? Math.max(...lanes.map((item) => item.lane)) : Math.min(...lanes.map((item) => item.lane));
        const distance = (item: Item) => Math.abs(item.time - present.time);
        const there = lanes.filter((item) => item.lane === lane).sort((one, other) => distance(one) - distance(other));
        return there[0] ?? present;
      }
      default:
        return null;
    }
  }
}

function sentence(mark: Mark): HTMLElement {
  const when = make('time', {}, `${(mark.time / 1000).toFixed(1)} s`);
  return make('li', { class: mark.kind }, when, ` ${mark.text}`);
}

/** What is right: how many may hold at once. */
const RIGHT: Record<Kind, string> = {
  lock: 'One holder at a time',
  handover: 'One holder at a time',
  semaphore: 'Never more holders than permits',
  readers: 'Readers together, or the writer alone',
  retry: 'One holder at a time',
};

function sayVerdict({ overlaps, overlapTime, stale, refused }: Score, kind: Kind): string {
  const seconds = (overlapTime / 1000).toFixed(1);
  if (overlaps > 0 && stale > 0) return `✗ Too many holders for ${seconds} s, and newer data overwritten`;
  if (overlaps > 0) return `✗ Too many holders at once, for ${seconds} s`;
  if (stale > 0) return '✗ A late write has overwritten newer data';
  return `✓ ${RIGHT[kind]}${refused > 0 ? ', and a late write refused' : ''}`;
}
