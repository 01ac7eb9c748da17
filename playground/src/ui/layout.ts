// Where things stand in a drawing: lanes from top to bottom, time from left to right.

import type { Lane, Trace } from '../sim/trace.ts';

export type Row = { lane: Lane; index: number; top: number; height: number; middle: number };

/** A part of a drawing that can be pointed at. */
export type Item = { time: number; lane: number; x: number; y: number; width: number; height: number; text: string };

const CLIENT = 44;
const CLIENT_OF_MANY = 34;
const SERVER = 40;
const SERVER_ROW = 20;
const RESOURCE = 40;
const AXIS = 20;

/** What is left free behind the present time. */
const MARGIN = 28;

/** Many clients have narrower lanes. */
const MANY = 4;

export class Layout {
  readonly rows: Row[];
  readonly height: number;
  readonly labels: number;
  readonly axis = AXIS;

  constructor(trace: Trace, width: number) {
    const { lanes } = trace;
    const many = lanes.filter((lane) => lane.kind === 'client').length > MANY;
    const extra = Math.max(0, ...trace.spans.map((span) => span.row ?? 0));
    this.labels = labelsOf(width);
    let top = AXIS;
    this.rows = lanes.map((lane, index) => {
      const height = heightOf(lane, many, extra);
      const row = { lane, index, top, height, middle: top + height / 2 };
      top += height;
      return row;
    });
    this.height = top + 4;
  }

  row(lane: number): Row {
    return this.rows[lane] as Row;
  }
}

/** How wide the names of lanes are. */
function labelsOf(width: number): number {
  return width < 480 ? 64 : 84;
}

/** Returns how many pixels there are for time in a drawing of a width. */
export function roomFor(width: number): number {
  return width - labelsOf(width) - MARGIN;
}

function heightOf(lane: Lane, many: boolean, extra: number): number {
  switch (lane.kind) {
    case 'server':
      return SERVER + SERVER_ROW * Math.max(1, extra);
    case 'resource':
      return RESOURCE;
    default:
      return many ? CLIENT_OF_MANY : CLIENT;
  }
}

/** Which time stands where. */
export class Scale {
  readonly start: number;
  readonly left: number;
  readonly right: number;
  readonly perMillisecond: number;

  /** The present time stands near the right end, once it gets there. */
  constructor(time: number, left: number, right: number, pixelsPerSecond: number) {
    this.perMillisecond = pixelsPerSecond / 1000;
    this.left = left;
    this.right = right;
    const visible = (right - left - MARGIN) / this.perMillisecond;
    this.start = Math.max(0, time - visible);
  }

  x(time: number): number {
    return this.left + (time - this.start) * this.perMillisecond;
  }

  /** The last time that is in sight. */
  end(): number {
    return this.start + (this.right - this.left) / this.perMillisecond;
  }
}
