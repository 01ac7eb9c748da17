// The simulated store behind a line protocol, for kvlock's conformance suite: a request is a line of JSON, and so is its
// answer. Numbers of 64 bits and bytes are text.

import { createInterface } from 'node:readline';
import { type Answer, Contents, type Request, type StoreError, type Ttl } from '../src/sim/contents.ts';

type Line = {
  op: Request['op'] | 'lose everything';
  now: string;
  keys: string[];
  value: string;
  ttl: string | null;
  era: string;
  number: string;
};

const contents = new Contents();

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)), text)}\n`);
}

function answer(line: Line): { ok: Answer | null } | { error: StoreError } {
  const now = BigInt(line.now);
  if (line.op !== 'lose everything') return contents.execute(request(line), now);
  contents.loseEverything(now);
  return { ok: null };
}

function request({ op, keys, value, ttl, era, number }: Line): Request {
  const [key = ''] = keys;
  const written = { key, value: new Uint8Array(Buffer.from(value, 'hex')), ttl: time(ttl) };
  const version = { era: BigInt(era), number: BigInt(number) };
  switch (op) {
    case 'get-many':
      return { op, keys };
    case 'add':
      return { op, ...written };
    case 'replace':
      return { op, ...written, version };
    case 'delete':
      return { op, key, version };
    case 'era':
      return { op, key };
    default:
      throw new Error(`the conformance suite knows no ${op}`);
  }
}

function time(ttl: string | null): Ttl {
  return ttl === null ? { tag: 'forever' } : { tag: 'after', val: BigInt(ttl) };
}

function text(_name: string, value: unknown): unknown {
  if (typeof value === 'bigint') return String(value);
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}
