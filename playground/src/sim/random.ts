// Randomness that a seed repeats. Each use has a stream of its own, so that one more draw in one place changes nothing
// elsewhere: a client has the same network in both worlds that are compared.

/** A stream of random numbers: mulberry32, seeded with a text. */
export class Random {
  #state: number;

  constructor(seed: number, purpose: string) {
    // FNV-1a over the purpose; the seed goes in first.
    let hash = (0x811c9dc5 ^ seed) >>> 0;
    for (let at = 0; at < purpose.length; at++) {
      hash = Math.imul(hash ^ purpose.charCodeAt(at), 0x01000193) >>> 0;
    }
    this.#state = hash;
  }

  /** Returns 32 random bits. */
  bits(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** Returns 64 random bits. */
  bits64(): bigint {
    return (BigInt(this.bits()) << 32n) | BigInt(this.bits());
  }

  /** Returns a whole number from `low` to `high`, both included. */
  between(low: number, high: number): number {
    return low + Math.floor((this.bits() / 2 ** 32) * (high - low + 1));
  }
}
