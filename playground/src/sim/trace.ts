// What happened in a world, as the page draws it: lanes, and on them spans, messages and marks. Each carries one
// sentence for people. A trace only grows: to look at an earlier time, leave out what came later.

export type LaneKind = 'server' | 'client' | 'resource' | 'operator';
export type Lane = { kind: LaneKind; name: string; client?: number; process?: number };

export type SpanKind = 'wait' | 'hold' | 'reserved' | 'frozen' | 'dead' | 'record' | 'down' | 'quarantine' | 'line';

/** Something that lasts. */
export type Span = {
  lane: number;
  kind: SpanKind;
  from: number;
  /** Infinity while nobody knows when it ends. */
  to: number;
  label: string;
  text: string;
  /** The client whose colour it has. */
  client?: number | undefined;
  /** Which of several beside each other on a lane. */
  row?: number | undefined;
};

/** `lost` never arrives; `ignored` arrives when nobody waits for it any more. */
export type Fate = 'arrives' | 'lost' | 'refused' | 'ignored';

/** A request or a reply. */
export type Message = {
  from: number;
  to: number;
  left: number;
  arrives: number;
  fate: Fate;
  isReply: boolean;
  isDelayed: boolean;
  /** Whether it changes nothing: a look, or a try that fails. */
  isQuiet: boolean;
  client: number;
  label: string;
  text: string;
};

export type MarkKind =
  | 'grant'
  | 'renewed'
  | 'released'
  | 'handed'
  | 'lost'
  | 'accepted'
  | 'stale'
  | 'refused'
  | 'conflict'
  | 'read'
  | 'era'
  | 'fault'
  | 'told';

/** Something that happens at a moment. */
export type Mark = {
  lane: number;
  kind: MarkKind;
  time: number;
  label: string;
  text: string;
  client?: number | undefined;
};

/** A time in which more clients held the lock than may. */
export type Overlap = { from: number; to: number; clients: number[] };

export class Trace {
  readonly lanes: Lane[] = [];
  readonly spans: Span[] = [];
  readonly messages: Message[] = [];
  readonly marks: Mark[] = [];
  readonly overlaps: Overlap[] = [];
  /** Who joined a wait list under which word. */
  readonly waiters = new Map<string, string>();

  lane(lane: Lane): number {
    return this.lanes.push(lane) - 1;
  }

  span(span: Span): Span {
    this.spans.push(span);
    return span;
  }

  message(message: Message): Message {
    this.messages.push(message);
    return message;
  }

  mark(mark: Mark): void {
    this.marks.push(mark);
  }
}

/** What a world comes to, up to a time. */
export type Score = {
  overlaps: number;
  overlapTime: number;
  stale: number;
  refused: number;
  grants: number;
  holders: number[];
};

/** Counts what the page counts, up to a time. */
export function score(trace: Trace, time: number): Score {
  const overlaps = trace.overlaps.filter((overlap) => overlap.from < time);
  const marks = trace.marks.filter((mark) => mark.time <= time);
  const count = (kind: MarkKind) => marks.filter((mark) => mark.kind === kind).length;
  const holding = trace.spans.filter((span) => span.kind === 'hold' && span.from <= time && time < span.to);
  return {
    overlaps: overlaps.length,
    overlapTime: overlaps.reduce((sum, overlap) => sum + Math.min(overlap.to, time) - overlap.from, 0),
    stale: count('stale'),
    refused: count('refused'),
    grants: count('grant'),
    holders: holding.map((span) => span.client ?? 0),
  };
}
