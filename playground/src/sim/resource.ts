// What the lock guards: a file, a row, a device. It keeps the largest token that it has seen, and refuses a smaller one.

/** A write under the lock, as it reaches the resource. */
export type Write = {
  client: number;
  /** What the client's lock gave it, if it gives any. */
  token: bigint | undefined;
  /** The order of the client's grant among all, if it has one; the resource does not know it, the judge does. */
  order: number | undefined;
  /** For a resource with a concurrency control of its own: the version that the writer read. */
  ifVersion?: number | undefined;
};

export type Verdict = { kind: 'accepted' | 'stale' | 'refused' | 'conflict'; text: string };

export class Resource {
  readonly #isFenced: boolean;
  #token = 0n;
  #newest = 0;
  #version = 1;

  constructor(isFenced: boolean) {
    this.#isFenced = isFenced;
  }

  version(): number {
    return this.#version;
  }

  write(name: string, write: Write): Verdict {
    const { token, order, ifVersion } = write;
    if (ifVersion !== undefined && ifVersion !== this.#version) {
      const text = `${name} has read version ${ifVersion}, and it is ${this.#version} by now: a conflict.`;
      return { kind: 'conflict', text };
    }
    if (this.#isFenced && token !== undefined && token < this.#token) {
      const text = `The resource refuses ${name}: token ${token} is older than ${this.#token}, which it has seen.`;
      return { kind: 'refused', text };
    }
    this.#version++;
    if (token !== undefined && token > this.#token) this.#token = token;
    if (order !== undefined && order < this.#newest) {
      const text = `${name} had the lock before somebody else, writes after it, and overwrites the newer data.`;
      return { kind: 'stale', text };
    }
    this.#newest = order ?? this.#newest;
    return { kind: 'accepted', text: `The resource accepts the write of ${name}.` };
  }
}
