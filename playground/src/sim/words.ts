// What a message or a record says, in one sentence.

import type { Answered } from './component.ts';
import type { Entry, Request, Version } from './contents.ts';
import { NAMES } from './settings.ts';
import type { SpanKind } from './trace.ts';

type Part = 'lock' | 'line' | 'permit' | 'semaphore' | 'list';

/** Which of kvlock's entries a key names. */
function partOf(key: string): Part {
  if (key.includes(':line')) return 'line';
  if (key.includes(':permit')) return 'permit';
  if (key.endsWith(':semaphores')) return 'list';
  return key.includes(':semaphore') ? 'semaphore' : 'lock';
}

/** Whether an entry is drawn: of a semaphore its permits are. */
export function isDrawn(key: string): boolean {
  return !['semaphore', 'list'].includes(partOf(key));
}

const PARTS: Record<Part, string> = {
  lock: 'the lock',
  line: 'the wait list',
  permit: 'a permit',
  semaphore: 'the semaphore',
  list: 'the list of semaphores',
};

/** The fencing token of a version. */
export function tokenOf(version: Version): bigint {
  return version.era + version.number;
}

/** What a client asks for: a word for the arrow, and a sentence. */
export function sayRequest(name: string, request: Request): { label: string; text: string } {
  const key = keyOf(request);
  const part = partOf(key);
  const what = PARTS[part];
  switch (request.op) {
    case 'get-many':
      if (part === 'lock' && request.keys.length > 1) {
        return { label: 'get', text: `${name} asks who has the lock, and who waits for it.` };
      }
      return { label: 'get', text: `${name} reads ${what}.` };
    case 'add':
      if (part === 'line') return { label: 'add', text: `${name} begins a wait list, if there is none.` };
      return { label: 'add', text: `${name} asks for ${what}: write my record, but only if there is none.` };
    case 'replace': {
      const token = tokenOf(request.version);
      if (part === 'line')
        return { label: 'replace', text: `${name} changes the wait list, unless it has changed since.` };
      return { label: 'replace', text: `${name} rewrites ${what}, but only if it is still version ${token}.` };
    }
    case 'delete': {
      const token = tokenOf(request.version);
      return { label: 'delete', text: `${name} deletes ${what}, but only if it is still version ${token}.` };
    }
    case 'era':
      return { label: 'era', text: `${name} asks for how long the server has forgotten nothing.` };
    case 'set':
      return { label: 'set', text: `${name} writes the lock, whatever is there.` };
    case 'drop':
      return { label: 'delete', text: `${name} deletes the lock, whosever it is.` };
    case 'touch':
      return { label: 'touch', text: `${name} makes the lock last longer, whosever it is.` };
  }
}

/** What the store answers. */
export function sayAnswer(
  request: Request,
  answered: Answered,
  waiters: Waiters = new Map(),
): { label: string; text: string; isQuiet: boolean } {
  const changes = 'ok' in answered && 'tag' in answered.ok && ['written', 'deleted'].includes(answered.ok.tag);
  return { ...sayWhat(request, answered, waiters), isQuiet: !changes || partOf(keyOf(request)) === 'line' };
}

function keyOf(request: Request): string {
  return request.op === 'get-many' ? (request.keys[0] ?? '') : request.key;
}

function sayWhat(request: Request, answered: Answered, waiters: Waiters): { label: string; text: string } {
  if ('error' in answered) return { label: 'error', text: `The store refuses: ${answered.error.val}.` };
  const answer = answered.ok;
  if (Array.isArray(answer)) {
    const first = answer[0];
    if (!first) return { label: 'nothing', text: 'The store has nothing there.' };
    const key = keyOf(request);
    return { label: 'found', text: `The store has it: ${readRecord(key, first, waiters).text}` };
  }
  if ('id' in answer) {
    const isOld = answer.losslessFor > 10n ** 15n;
    const seconds = (Number(answer.losslessFor / 1_000_000n) / 1000).toFixed(1);
    return {
      label: 'era',
      text: isOld ? 'The server has never lost anything.' : `The server has lost nothing for ${seconds} s.`,
    };
  }
  switch (answer.tag) {
    case 'written':
      return { label: 'written', text: `Written, as version ${tokenOf(answer.val)}.` };
    case 'deleted':
      return { label: 'deleted', text: 'Deleted.' };
    case 'conflict':
      return { label: 'conflict', text: 'Nothing is changed: somebody else has written there.' };
    case 'absent':
      return { label: 'absent', text: 'Nothing is changed: nothing is there any more.' };
  }
}

/** Who joined a wait list under which word. */
type Waiters = ReadonlyMap<string, string>;

type Record_ = { kind: SpanKind; label: string; text: string; client?: number; row: number };

/** Notes who joins a wait list: whoever writes a word there first. */
export function noteWaiters(name: string, request: Request, waiters: Map<string, string>): void {
  if (!('value' in request) || partOf(request.key) !== 'line') return;
  for (const word of waitersIn(new TextDecoder().decode(request.value))) {
    if (!waiters.has(word)) waiters.set(word, name);
  }
}

/** The words in a wait list, in order, without the marks of those that were passed over. */
function waitersIn(value: string): string[] {
  const words = (/^waiting: (.*)$/m.exec(value)?.[1] ?? '').split(' ');
  return words.map((word) => word.replaceAll('~', '')).filter((word) => word !== '');
}

/** What an entry says about who has the lock. */
export function readRecord(key: string, entry: Entry, waiters: Waiters): Record_ {
  const value = new TextDecoder().decode(entry.value);
  const part = partOf(key);
  if (part === 'line') {
    const names = waitersIn(value).map((word) => waiters.get(word) ?? 'somebody');
    const text = names.length === 0 ? 'Nobody is in the wait list.' : `The wait list, in order: ${names.join(', ')}.`;
    return { kind: 'line', label: names.length === 0 ? '' : `queue: ${names.join(', ')}`, text, row: 1 };
  }
  const token = tokenOf(entry.version);
  const field = (name: string) => new RegExp(`^${name}: (.*)$`, 'm').exec(value)?.[1];
  const owner = field('owner') ?? ownerOf(value);
  const client = owner === undefined ? -1 : NAMES.indexOf(owner);
  const row = part === 'permit' ? Number(/permit:(\d+)/.exec(key)?.[1] ?? 0) : 0;
  const readers = value.match(/^reader: /gm)?.length ?? 0;
  const whose = { row, ...(client >= 0 ? { client } : {}) };
  if (readers > 0) {
    const many = readers === 1 ? '1 reader' : `${readers} readers`;
    return { kind: 'record', label: many, text: `${many} share the lock, version ${token}.`, row };
  }
  if (field('reserved') !== undefined) {
    return {
      kind: 'reserved',
      label: 'reserved',
      text: `The lock is reserved for the next try of ${owner}.`,
      ...whose,
    };
  }
  const name = owner ?? 'somebody';
  const granted = field('token') ?? String(token);
  return {
    kind: 'record',
    label: `${name} ${granted}`,
    text: `a record of ${name}, with token ${granted}, version ${token}.`,
    ...whose,
  };
}

/** The owner in a record of a classic lock, if it has one. */
function ownerOf(value: string): string | undefined {
  try {
    const parsed: unknown = JSON.parse(value);
    if (typeof parsed === 'string') return parsed.split('#')[0];
    if (typeof parsed === 'object' && parsed !== null && 'owner' in parsed) return String(parsed.owner);
  } catch {
    return undefined;
  }
  return undefined;
}
