// The signs of the drawing. Each differs from the others in shape, not in colour alone.

import type { Mark, Message, Span } from '../sim/trace.ts';
import type { Item, Row, Scale } from './layout.ts';
import type { Theme } from './theme.ts';

export type Paint = { context: CanvasRenderingContext2D; scale: Scale; theme: Theme; time: number; items: Item[] };

const BAR = 20;

export function drawSpan(paint: Paint, span: Span, row: Row): void {
  const { context, scale, theme, time, items } = paint;
  const from = Math.max(scale.x(span.from), scale.left - 4);
  const to = scale.x(Math.min(span.to, time));
  const width = Math.max(1, to - from);
  const colour = span.client === undefined ? theme.muted : (theme.clients[span.client] ?? theme.muted);
  const [y, height] = placeOf(span, row);
  context.lineWidth = 1.5;
  switch (span.kind) {
    case 'hold':
      context.fillStyle = colour;
      round(context, from, y, width, height);
      context.fill();
      write(paint, span.label, from, y, width, height, theme.ground, true);
      break;
    case 'wait':
      context.strokeStyle = colour;
      context.setLineDash([3, 3]);
      line(context, from, row.middle, to, row.middle);
      context.setLineDash([]);
      if (to - from > 60) write(paint, span.label, from, row.middle - 15, width, 12, theme.muted);
      break;
    case 'record':
    case 'reserved':
      context.strokeStyle = colour;
      context.fillStyle = theme.ground;
      if (span.kind === 'reserved') context.setLineDash([4, 3]);
      round(context, from, y, width, height);
      context.fill();
      context.stroke();
      context.setLineDash([]);
      context.fillStyle = colour;
      context.fillRect(from, y, Math.min(4, width), height);
      write(paint, span.label, from + 3, y, width - 3, height, theme.text);
      break;
    case 'line':
      context.strokeStyle = theme.faint;
      line(context, from, y + height, to, y + height);
      write(paint, span.label, from, y, width, height, theme.muted);
      break;
    case 'frozen':
    case 'dead':
    case 'down':
    case 'quarantine':
      drawCover(paint, span, row, from, width);
      break;
  }
  items.push({ time: span.from, lane: row.index, x: from, y, width, height, text: span.text });
}

/** A time in which something does not run, or grants nothing: hatched, with a word. */
function drawCover(paint: Paint, span: Span, row: Row, from: number, width: number): void {
  const { context, theme } = paint;
  const [y, height] = placeOf(span, row);
  const colour = span.kind === 'quarantine' ? theme.warn : theme.muted;
  context.globalAlpha = span.kind === 'quarantine' ? 0.14 : 0.55;
  context.fillStyle = span.kind === 'quarantine' ? colour : theme.lane;
  context.fillRect(from, y, width, height);
  context.globalAlpha = 1;
  hatch(context, from, y, width, height, colour, span.kind === 'dead' || span.kind === 'down' ? 0.9 : 0.45);
  context.strokeStyle = colour;
  context.strokeRect(from, y, width, height);
  if (width < 40) return;
  const text = span.kind === 'frozen' ? `❄ ${span.label}` : span.label;
  const measured = Math.min(width - 8, widthOf(context, text) + 8);
  const left = Math.max(from, paint.scale.left) + 3;
  context.fillStyle = theme.ground;
  context.fillRect(left, y + height / 2 - 8, measured, 16);
  write(paint, text, left, y, measured + 8, height, theme.text);
}

function placeOf(span: Span, row: Row): [number, number] {
  switch (span.kind) {
    case 'record':
    case 'reserved':
    case 'line':
      return [row.top + 16 + (span.row ?? 0) * BAR, BAR - 4];
    case 'frozen':
    case 'dead':
      return [row.top + 4, row.height - 8];
    case 'down':
      return [row.top + 3, row.height - 6];
    case 'quarantine':
      return [row.top + 34, row.height - 36];
    case 'wait':
      return [row.middle - 6, 12];
    default:
      return [row.middle - BAR / 2, BAR];
  }
}

/** An arrow as far as it has come. */
type Arrow = { message: Message; fromX: number; fromY: number; toX: number; toY: number; isThere: boolean };

function arrowOf({ scale, time }: Paint, message: Message, from: Row, to: Row): Arrow {
  const down = to.top > from.top;
  const [fromY, endY] = [edge(from, down), edge(to, !down)];
  const total = message.arrives - message.left || 1;
  // A lost one breaks off half way.
  const most = message.fate === 'lost' ? 0.55 : 1;
  const share = Math.min(most, (time - message.left) / total);
  const fromX = scale.x(message.left);
  const toX = fromX + (scale.x(message.arrives) - fromX) * share;
  return { message, fromX, fromY, toX, toY: fromY + (endY - fromY) * share, isThere: share === most };
}

/** Draws messages; `rows` says which lanes are which. Those that change nothing are faint, and drawn in one stroke. */
export function drawMessages(paint: Paint, messages: Message[], row: (lane: number) => Row): void {
  const { context, theme, items } = paint;
  const quiet = new Map<number, Path2D>();
  for (const message of messages) {
    const [from, to] = [row(message.from), row(message.to)];
    const arrow = arrowOf(paint, message, from, to);
    if (message.isQuiet) {
      const path = quiet.get(message.client) ?? new Path2D();
      quiet.set(message.client, path);
      path.moveTo(arrow.fromX, arrow.fromY);
      path.lineTo(arrow.toX, arrow.toY);
    } else {
      drawArrow(paint, arrow);
    }
    const height = Math.abs(arrow.toY - arrow.fromY);
    // To point at: the middle part of the arrow, so that what it crosses can be pointed at too.
    const y = Math.min(arrow.fromY, arrow.toY) + height * 0.2;
    const [x, width] = [Math.min(arrow.fromX, arrow.toX), Math.abs(arrow.toX - arrow.fromX)];
    items.push({ time: message.left, lane: from.index, x, y, width, height: height * 0.6, text: message.text });
  }
  context.globalAlpha = 0.35;
  context.lineWidth = 1;
  for (const [client, path] of quiet) {
    context.strokeStyle = theme.clients[client] ?? theme.text;
    context.stroke(path);
  }
  context.globalAlpha = 1;
}

function drawArrow({ context, theme }: Paint, { message, fromX, fromY, toX, toY, isThere }: Arrow): void {
  const isBad = message.fate === 'lost' || message.fate === 'refused';
  context.strokeStyle = isBad ? theme.bad : (theme.clients[message.client] ?? theme.text);
  context.lineWidth = message.isDelayed ? 2.5 : 1.5;
  context.setLineDash(message.isReply ? [4, 3] : []);
  line(context, fromX, fromY, toX, toY);
  context.setLineDash([]);
  context.fillStyle = context.strokeStyle;
  if (isThere && message.fate === 'lost') cross(context, toX, toY, 5);
  else if (isThere && message.fate === 'ignored') cross(context, toX, toY, 3);
  else arrowhead(context, fromX, fromY, toX, toY);
}

/** Where an arrow begins or ends on a lane. */
function edge(row: Row, isBottom: boolean): number {
  if (row.lane.kind === 'server' || row.lane.kind === 'resource')
    return isBottom ? row.top + row.height - 3 : row.top + 3;
  return row.middle + (isBottom ? BAR / 2 : -BAR / 2);
}

const LETTERS: Partial<Record<Mark['kind'], string>> = { renewed: 'R', handed: 'H' };

export function drawMark(paint: Paint, mark: Mark, row: Row): void {
  const { context, scale, theme, items } = paint;
  const x = scale.x(mark.time);
  const colour = mark.client === undefined ? theme.text : (theme.clients[mark.client] ?? theme.text);
  let y = row.middle;
  switch (mark.kind) {
    case 'accepted':
      disc(context, x, y, 6, colour);
      tick(context, x, y, theme.ground);
      break;
    case 'stale':
      disc(context, x, y, 8, theme.bad);
      write(paint, '!', x - 7, y - 8, 20, 16, theme.ground, true);
      break;
    case 'refused':
    case 'conflict':
      if (row.lane.kind !== 'resource') y = row.middle - 14;
      context.fillStyle = theme.ground;
      context.strokeStyle = colour;
      context.lineWidth = 2;
      context.fillRect(x - 7, y - 7, 14, 14);
      context.strokeRect(x - 7, y - 7, 14, 14);
      context.fillStyle = colour;
      cross(context, x, y, 4);
      break;
    case 'read':
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      circle(context, x, y, 4);
      context.stroke();
      break;
    case 'renewed':
    case 'handed':
      context.fillStyle = theme.ground;
      circle(context, x, y, 7);
      context.fill();
      context.strokeStyle = colour;
      context.lineWidth = 1.5;
      context.stroke();
      write(paint, LETTERS[mark.kind] ?? '', x - 7.5, y - 8, 20, 16, theme.text);
      break;
    case 'lost':
      context.strokeStyle = theme.bad;
      context.fillStyle = theme.bad;
      context.lineWidth = 2.5;
      cross(context, x, y, 6);
      break;
    case 'era':
      context.fillStyle = theme.warn;
      context.fillRect(x - 1, row.top + 2, 2, row.height - 4);
      y = row.top + 9;
      write(paint, mark.label, x, y - 8, 90, 16, theme.text);
      break;
    case 'fault':
      y = row.top + 7;
      bolt(context, x, y, theme.warn);
      break;
    case 'grant':
    case 'released':
    case 'told':
      y = row.middle + 14;
      context.fillStyle = colour;
      circle(context, x, y, 2);
      context.fill();
      break;
  }
  const size = mark.kind === 'grant' || mark.kind === 'released' || mark.kind === 'told' ? 3 : 8;
  items.push({
    time: mark.time,
    lane: row.index,
    x: x - size,
    y: y - size,
    width: 2 * size,
    height: 2 * size,
    text: mark.text,
  });
}

/** Writes a word that has room for it; at the left end, if what it belongs to began before that. */
function write(
  paint: Paint,
  text: string,
  x: number,
  y: number,
  width: number,
  height: number,
  colour: string,
  isBold = false,
): void {
  const { context, theme } = paint;
  const left = Math.max(x, paint.scale.left);
  const room = x + width - left - 6;
  if (room < 8) return;
  context.font = `${isBold ? '600 ' : ''}11px ${theme.font}`;
  context.fillStyle = colour;
  const shown = widthOf(context, text) <= room ? text : (text.split(' ').at(-1) ?? '');
  if (widthOf(context, shown) <= room) {
    if (!isBold) {
      // A rim, so that what is behind does not run into the letters.
      context.strokeStyle = theme.ground;
      context.lineWidth = 3;
      context.strokeText(shown, left + 4, y + height / 2 + 0.5);
    }
    context.fillText(shown, left + 4, y + height / 2 + 0.5);
  }
  context.font = `12px ${theme.font}`;
}

/** How wide the words are that were drawn: the same ones stand in each frame. */
const WIDTHS = new Map<string, number>();
const MOST_WIDTHS = 4096;

function widthOf(context: CanvasRenderingContext2D, text: string): number {
  const key = `${context.font} ${text}`;
  const known = WIDTHS.get(key);
  if (known !== undefined) return known;
  if (WIDTHS.size >= MOST_WIDTHS) WIDTHS.clear();
  const { width } = context.measureText(text);
  WIDTHS.set(key, width);
  return width;
}

/** The stripes in each colour. */
const STRIPES = new Map<string, CanvasPattern | null>();
const STRIPE = 8;

/** Stripes an area, so that it is told from others without colour. */
export function hatch(
  context: CanvasRenderingContext2D,
  x: number,
  y: number,
  width: number,
  height: number,
  colour: string,
  alpha: number,
): void {
  if (!STRIPES.has(colour)) STRIPES.set(colour, stripes(context, colour));
  context.globalAlpha = alpha;
  context.fillStyle = STRIPES.get(colour) ?? colour;
  context.fillRect(x, y, width, height);
  context.globalAlpha = 1;
}

function stripes(context: CanvasRenderingContext2D, colour: string): CanvasPattern | null {
  const tile = document.createElement('canvas');
  tile.width = STRIPE;
  tile.height = STRIPE;
  const within = tile.getContext('2d');
  if (!within) return null;
  within.strokeStyle = colour;
  within.beginPath();
  // One stripe, and the corners of its neighbours.
  for (const shift of [-STRIPE, 0, STRIPE]) {
    within.moveTo(shift - 1, STRIPE + 1);
    within.lineTo(shift + STRIPE + 1, -1);
  }
  within.stroke();
  return context.createPattern(tile, 'repeat');
}

function line(context: CanvasRenderingContext2D, x: number, y: number, toX: number, toY: number): void {
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(toX, toY);
  context.stroke();
}

function round(context: CanvasRenderingContext2D, x: number, y: number, width: number, height: number): void {
  context.beginPath();
  context.roundRect(x, y, width, height, Math.min(4, width / 2));
}

function circle(context: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  context.beginPath();
  context.arc(x, y, radius, 0, 2 * Math.PI);
}

function disc(context: CanvasRenderingContext2D, x: number, y: number, radius: number, colour: string): void {
  context.fillStyle = colour;
  circle(context, x, y, radius);
  context.fill();
}

function tick(context: CanvasRenderingContext2D, x: number, y: number, colour: string): void {
  context.strokeStyle = colour;
  context.lineWidth = 1.75;
  context.beginPath();
  context.moveTo(x - 3, y);
  context.lineTo(x - 0.5, y + 2.5);
  context.lineTo(x + 3, y - 2.5);
  context.stroke();
}

function cross(context: CanvasRenderingContext2D, x: number, y: number, size: number): void {
  line(context, x - size, y - size, x + size, y + size);
  line(context, x - size, y + size, x + size, y - size);
}

function bolt(context: CanvasRenderingContext2D, x: number, y: number, colour: string): void {
  context.fillStyle = colour;
  context.beginPath();
  context.moveTo(x - 6, y - 5);
  context.lineTo(x + 6, y - 5);
  context.lineTo(x, y + 6);
  context.closePath();
  context.fill();
}

function arrowhead(context: CanvasRenderingContext2D, fromX: number, fromY: number, x: number, y: number): void {
  const angle = Math.atan2(y - fromY, x - fromX);
  context.beginPath();
  context.moveTo(x, y);
  context.lineTo(x - 7 * Math.cos(angle - 0.4), y - 7 * Math.sin(angle - 0.4));
  context.lineTo(x - 7 * Math.cos(angle + 0.4), y - 7 * Math.sin(angle + 0.4));
  context.closePath();
  context.fill();
}
