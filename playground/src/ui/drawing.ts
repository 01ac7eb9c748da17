// Draws a world up to a time on a canvas, and remembers what it drew where.

import type { Mark, Span, SpanKind, Trace } from '../sim/trace.ts';
import { type Item, Layout, type Row, Scale } from './layout.ts';
import { drawMark, drawMessages, drawSpan, hatch } from './signs.ts';
import type { Theme } from './theme.ts';

/** What is told of a lane beside its name; the first that there is. */
const STATES: SpanKind[] = ['dead', 'frozen', 'hold', 'wait', 'down', 'quarantine'];

/** What is drawn: up to which time, how wide, and which client is marked. */
export type View = { time: number; pixelsPerSecond: number; theme: Theme; client: number };

export class Drawing {
  readonly canvas: HTMLCanvasElement;
  items: Item[] = [];
  #context: CanvasRenderingContext2D;
  #layout: Layout | undefined;
  #size = '';
  #width = 0;

  constructor(canvas: HTMLCanvasElement) {
    this.canvas = canvas;
    this.#context = canvas.getContext('2d') as CanvasRenderingContext2D;
    // To ask for the width in each frame would lay out the page in each frame.
    new ResizeObserver(() => {
      this.#width = canvas.clientWidth;
    }).observe(canvas);
  }

  /** How wide it is on the page; 0 if it is not there. */
  width(): number {
    this.#width ||= this.canvas.clientWidth;
    return this.#width;
  }

  draw(trace: Trace, { time, pixelsPerSecond, theme, client }: View, chosen: Item | undefined): void {
    const width = this.width();
    if (width === 0) return;
    const layout = new Layout(trace, width);
    this.#layout = layout;
    this.#fit(width, layout.height);
    const scale = new Scale(time, layout.labels, width, pixelsPerSecond);
    const context = this.#context;
    context.clearRect(0, 0, width, layout.height);
    context.font = `12px ${theme.font}`;
    context.textBaseline = 'middle';
    this.items = [];
    this.#lanes(layout, theme, width);
    this.#axis(layout, scale, theme, time, width);
    context.save();
    context.beginPath();
    context.rect(layout.labels, 0, width - layout.labels, layout.height);
    context.clip();
    this.#overlaps(trace, layout, scale, theme, time);
    const paint = { context, scale, theme, time, items: this.items };
    const isSeen = (from: number, to: number) => from <= time && to >= scale.start;
    const spans = trace.spans.filter((span) => isSeen(span.from, span.to));
    // What lasts stands before what passes by, but for the lines of those who wait.
    for (const span of spans) if (span.kind === 'wait') drawSpan(paint, span, layout.row(span.lane));
    const messages = trace.messages.filter((message) => isSeen(message.left, message.arrives));
    drawMessages(paint, messages, (lane) => layout.row(lane));
    for (const span of spans) if (span.kind !== 'wait') drawSpan(paint, span, layout.row(span.lane));
    const marks = trace.marks.filter((mark) => isSeen(mark.time, mark.time));
    // What is rare is not hidden by what is usual.
    for (const mark of marks) if (!isRare(mark)) drawMark(paint, mark, layout.row(mark.lane));
    for (const mark of marks) if (isRare(mark)) drawMark(paint, mark, layout.row(mark.lane));
    this.#present(layout, scale, theme, time);
    if (chosen) this.#ring(chosen, layout, scale, theme);
    context.restore();
    const present = spans.filter((span) => span.from <= time && time < span.to);
    for (const row of layout.rows) this.#label(row, trace, present, theme, client);
  }

  /** What is drawn at a place: the smallest that is near. */
  at(x: number, y: number): Item | undefined {
    const near = 5;
    const hits = this.items.filter(
      (item) =>
        x >= item.x - near && x <= item.x + item.width + near && y >= item.y - near && y <= item.y + item.height + near,
    );
    const area = (item: Item) => item.width * item.height;
    return hits.reduce<Item | undefined>((best, item) => (best && area(best) <= area(item) ? best : item), undefined);
  }

  /** Which lane is at a height. */
  laneAt(y: number): Row | undefined {
    return this.#layout?.rows.find((row) => y >= row.top && y < row.top + row.height);
  }

  #fit(width: number, height: number): void {
    const ratio = globalThis.devicePixelRatio || 1;
    const size = `${width} ${height} ${ratio}`;
    if (size === this.#size) return;
    this.#size = size;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.canvas.style.height = `${height}px`;
    this.#context.setTransform(ratio, 0, 0, ratio, 0, 0);
  }

  #lanes(layout: Layout, theme: Theme, width: number): void {
    const context = this.#context;
    for (const row of layout.rows) {
      context.fillStyle = row.lane.kind === 'client' ? theme.ground : theme.lane;
      context.fillRect(0, row.top, width, row.height);
      context.fillStyle = theme.line;
      context.fillRect(0, row.top, width, 1);
    }
  }

  #axis(layout: Layout, scale: Scale, theme: Theme, time: number, width: number): void {
    const context = this.#context;
    const every = [250, 500, 1000, 2000, 5000].find((step) => step * scale.perMillisecond >= 44) ?? 10_000;
    context.textAlign = 'center';
    for (let tick = Math.ceil(scale.start / every) * every; tick <= scale.end(); tick += every) {
      const x = scale.x(tick);
      if (x < layout.labels + 4) continue;
      context.fillStyle = theme.line;
      context.fillRect(x, layout.axis - 5, 1, layout.height - layout.axis);
      context.fillStyle = tick <= time ? theme.muted : theme.faint;
      if (x < width - 14) context.fillText(`${tick / 1000} s`, x, layout.axis / 2 - 1);
    }
    context.textAlign = 'left';
  }

  /** Times with more holders than may be: a band over the clients, striped, with a word. */
  #overlaps(trace: Trace, layout: Layout, scale: Scale, theme: Theme, time: number): void {
    const clients = layout.rows.filter((row) => row.lane.kind === 'client');
    const [first, last] = [clients[0], clients.at(-1)];
    if (!first || !last) return;
    for (const overlap of trace.overlaps) {
      if (overlap.from > time || overlap.to < scale.start) continue;
      const [x, end] = [scale.x(overlap.from), scale.x(Math.min(overlap.to, time))];
      const [width, height] = [Math.max(3, end - x), last.top + last.height - first.top];
      const context = this.#context;
      context.fillStyle = theme.badGround;
      context.fillRect(x, first.top, width, height);
      hatch(context, x, first.top, width, height, theme.bad, 0.35);
      context.fillStyle = theme.bad;
      context.fillRect(x, first.top, 2, height);
      context.fillRect(x + width - 1, first.top, 1, height);
      const seconds = ((Math.min(overlap.to, time) - overlap.from) / 1000).toFixed(1);
      const text = `${overlap.clients.length} hold the lock at once, for ${seconds} s.`;
      this.items.push({ time: overlap.from, lane: first.index, x, y: first.top, width, height, text });
    }
  }

  #present(layout: Layout, scale: Scale, theme: Theme, time: number): void {
    const x = scale.x(time);
    this.#context.fillStyle = theme.text;
    this.#context.fillRect(x, layout.axis - 4, 1.5, layout.height - layout.axis);
  }

  #ring(chosen: Item, layout: Layout, scale: Scale, theme: Theme): void {
    const same = this.items.find((item) => isSame(item, chosen));
    if (!same) return;
    const context = this.#context;
    const left = Math.max(same.x, layout.labels + 2);
    const right = Math.min(same.x + same.width, scale.right - 2);
    context.strokeStyle = theme.text;
    context.lineWidth = 2;
    context.strokeRect(left - 3, same.y - 3, Math.max(6, right - left + 6), same.height + 6);
  }

  #label(row: Row, trace: Trace, present: Span[], theme: Theme, chosen: number): void {
    const context = this.#context;
    const { lane } = row;
    const client = lane.client;
    const width = (this.#layout?.labels ?? 0) - 10;
    context.fillStyle = lane.kind === 'client' ? theme.ground : theme.lane;
    context.fillRect(0, row.top + 1, width + 10, row.height - 1);
    if (client !== undefined) {
      context.fillStyle = theme.clients[client] ?? theme.text;
      context.fillRect(0, row.top + 1, client === chosen ? 7 : 3, row.height - 1);
    }
    const here = present.filter((span) => span.lane === row.index);
    const state = STATES.map((kind) => here.find((span) => span.kind === kind)).find((span) => span !== undefined);
    const word = state && (state.kind === 'hold' ? 'holds' : state.label);
    context.fillStyle = theme.text;
    context.font = `600 12px ${theme.font}`;
    const house = lane.process !== undefined && sharesProcess(trace, row.index) ? ` · P${lane.process + 1}` : '';
    context.fillText(lane.name + house, 12, word ? row.middle - 7 : row.middle, width);
    context.font = `11px ${theme.font}`;
    if (!word) return;
    context.fillStyle = theme.muted;
    context.fillText(word, 12, row.middle + 8, width);
  }
}

export function isSame(one: Item, other: Item): boolean {
  return one.time === other.time && one.lane === other.lane && one.text === other.text;
}

function isRare(mark: Mark): boolean {
  return ['stale', 'refused', 'lost', 'conflict'].includes(mark.kind);
}

function sharesProcess(trace: Trace, lane: number): boolean {
  const of = trace.lanes[lane]?.process;
  return trace.lanes.filter((other) => other.process === of).length > 1;
}
