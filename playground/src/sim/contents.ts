// What a store holds, and how a request changes it: the semantics of `Memory`, kvlock's mock, in the shapes that jco
// gives to `kvlock:lock/kv-store`. The conformance suite of kvlock is run against this file.
//
// Beside the contract it has what a cache has and the contract leaves out on purpose: blind `set`, `drop` and `touch`.
// The classic locks are built from these.

export type Ttl = { tag: 'after'; val: bigint } | { tag: 'forever' };
export type Version = { era: bigint; number: bigint };
export type Entry = { value: Uint8Array; version: Version; timeLeft: Ttl | undefined };
export type StoreError = { tag: 'unavailable' | 'unknown-outcome' | 'rejected' | 'invalid'; val: string };
export type WriteOutcome =
  | { tag: 'written'; val: Version }
  | { tag: 'conflict'; val: Version | undefined }
  | { tag: 'absent' };
export type DeleteOutcome = { tag: 'deleted' } | { tag: 'conflict'; val: Version | undefined } | { tag: 'absent' };
export type EraInfo = { id: bigint; losslessFor: bigint };

export type Request =
  | { op: 'get-many'; keys: string[] }
  | { op: 'add'; key: string; value: Uint8Array; ttl: Ttl }
  | { op: 'replace'; key: string; value: Uint8Array; ttl: Ttl; version: Version }
  | { op: 'delete'; key: string; version: Version }
  | { op: 'era'; key: string }
  | { op: 'set'; key: string; value: Uint8Array; ttl: Ttl }
  | { op: 'drop'; key: string }
  | { op: 'touch'; key: string; ttl: Ttl };

/** The answer to a request; its shape is that of the request's operation. */
export type Answer = (Entry | undefined)[] | WriteOutcome | DeleteOutcome | EraInfo;

type Stored = { value: Uint8Array; number: bigint; ends: bigint | undefined };

const MILLISECOND = 1_000_000n;
const LARGEST_VALUE = 1024 * 1024;
const LARGEST_KEY = 250;
const FOR_EVER = 2n ** 64n - 1n;

/** The first era and the distance between two: small, so that a token is a number that a person can read. */
const FIRST_ERA = 1000n;

/** The contents of one server. Times are nanoseconds. */
export class Contents {
  #entries = new Map<string, Stored>();
  #era: bigint;
  #number = 0n;
  #losslessSince: bigint | undefined;

  constructor(era = FIRST_ERA) {
    this.#era = era;
  }

  era(): bigint {
    return this.#era;
  }

  /** Executes a request, or tells why its arguments are not legal. */
  execute(request: Request, now: bigint): { ok: Answer } | { error: StoreError } {
    const keys = request.op === 'get-many' ? request.keys : [request.key];
    const refused = keys.map(checkKey).find((error) => error !== undefined);
    if (refused) return { error: refused };
    if ('value' in request && request.value.length > LARGEST_VALUE) {
      return { error: { tag: 'rejected', val: 'a value has at most a mebibyte' } };
    }
    return { ok: this.#carryOut(request, now) };
  }

  #carryOut(request: Request, now: bigint): Answer {
    switch (request.op) {
      case 'get-many':
        return request.keys.map((key) => this.look(key, now));
      case 'add': {
        const stored = this.#live(request.key, now);
        return stored ? this.#conflict(stored) : this.#put(request.key, request.value, request.ttl, now);
      }
      case 'replace':
        return (
          this.#refusal(request.key, request.version, now) ?? this.#put(request.key, request.value, request.ttl, now)
        );
      case 'delete': {
        const refusal = this.#refusal(request.key, request.version, now);
        if (!refusal) this.#entries.delete(request.key);
        return refusal ?? { tag: 'deleted' };
      }
      case 'era':
        return { id: this.#era, losslessFor: this.#losslessSince === undefined ? FOR_EVER : now - this.#losslessSince };
      case 'set':
        return this.#put(request.key, request.value, request.ttl, now);
      case 'drop': {
        const stored = this.#live(request.key, now);
        this.#entries.delete(request.key);
        return stored ? { tag: 'deleted' } : { tag: 'absent' };
      }
      case 'touch': {
        const stored = this.#live(request.key, now);
        if (!stored) return { tag: 'absent' };
        stored.ends = ends(request.ttl, now);
        return { tag: 'written', val: this.#version(stored) };
      }
    }
  }

  /** Reads an entry. */
  look(key: string, now: bigint): Entry | undefined {
    const stored = this.#live(key, now);
    if (!stored) return undefined;
    const timeLeft: Ttl = stored.ends === undefined ? { tag: 'forever' } : { tag: 'after', val: stored.ends - now };
    return { value: stored.value, version: this.#version(stored), timeLeft };
  }

  /** Forgets one entry, as a cache that is full does. */
  evict(key: string): boolean {
    return this.#entries.delete(key);
  }

  /** Forgets everything: a restart, or a flush. */
  loseEverything(now: bigint): void {
    this.#entries.clear();
    // Beyond every sum of era and number so far, and round.
    this.#era = ((this.#era + this.#number) / FIRST_ERA + 1n) * FIRST_ERA;
    this.#number = 0n;
    this.#losslessSince = now;
  }

  #live(key: string, now: bigint): Stored | undefined {
    const stored = this.#entries.get(key);
    return stored && (stored.ends === undefined || now < stored.ends) ? stored : undefined;
  }

  #version(stored: Stored): Version {
    return { era: this.#era, number: stored.number };
  }

  #conflict(stored: Stored): { tag: 'conflict'; val: Version } {
    return { tag: 'conflict', val: this.#version(stored) };
  }

  /** Why the entry may not be changed by whoever names this version; undefined if it may. */
  #refusal(key: string, version: Version, now: bigint) {
    if (version.era !== this.#era) return { tag: 'conflict' as const, val: undefined };
    const stored = this.#live(key, now);
    if (!stored) return { tag: 'absent' as const };
    return stored.number === version.number ? undefined : this.#conflict(stored);
  }

  #put(key: string, value: Uint8Array, ttl: Ttl, now: bigint): { tag: 'written'; val: Version } {
    this.#number += 1n;
    const stored = { value, number: this.#number, ends: ends(ttl, now) };
    this.#entries.set(key, stored);
    return { tag: 'written', val: this.#version(stored) };
  }
}

function ends(ttl: Ttl, now: bigint): bigint | undefined {
  return ttl.tag === 'after' ? now + ttl.val : undefined;
}

function checkKey(key: string): StoreError | undefined {
  const length = new TextEncoder().encode(key).length;
  if (length >= 1 && length <= LARGEST_KEY && !hasBlank(key)) return undefined;
  return { tag: 'invalid', val: `a key has 1 to ${LARGEST_KEY} bytes without white space` };
}

/** Whether a text has white space or a control character, as the contract counts them. */
function hasBlank(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code <= 0x20 || code === 0x7f) return true;
  }
  return false;
}

/** Nanoseconds of so many milliseconds. */
export function nanos(milliseconds: number): bigint {
  return BigInt(Math.round(milliseconds)) * MILLISECOND;
}

/** Milliseconds of so many nanoseconds, rounded up: who sleeps that long does not wake up too early. */
export function millis(nanoseconds: bigint): number {
  return Number((nanoseconds + MILLISECOND - 1n) / MILLISECOND);
}
