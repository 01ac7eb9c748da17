// A store for the lock component: a map and a clock. It implements `kvlock:lock/kv-store` (wit/kv-store.wit) in the
// shape that jco gives it: numbers of 64 bits are BigInts, a variant is { tag, val }, none is undefined, and an error is
// thrown: `throw { tag: 'unavailable', val: 'no route' }`.

// Stands still until somebody sleeps: an hour of waiting takes no time.
export class VirtualClock {
  nanos = 3_600_000_000_000n;
  now = () => this.nanos;
  sleep = (nanos) => {
    this.nanos += nanos;
  };
}

// The life of these contents; a store that can lose everything makes a larger one each time it does.
const ERA = 1_000_000_000_000n;
// A map loses nothing while it is there.
const LOSSLESS_FOR = 2n ** 64n - 1n;

export function kvStore(clock) {
  const entries = new Map(); // key: { value, number, ends: a time, or undefined for ever }
  const calls = []; // the names of the functions called, for tests
  let last = 0n;

  const version = (entry) => ({ era: ERA, number: entry.number });
  const live = (key) => {
    const entry = entries.get(key);
    // An expired entry is absent.
    return entry && (entry.ends === undefined || clock.now() < entry.ends) ? entry : undefined;
  };
  const look = (key) => {
    const entry = live(key);
    if (!entry) return undefined;
    const timeLeft =
      entry.ends === undefined ? { tag: 'forever' } : { tag: 'after', val: entry.ends - clock.now() };
    return { value: entry.value, version: version(entry), timeLeft };
  };
  const put = (key, value, ttl) => {
    last += 1n; // never used twice
    const entry = { value, number: last, ends: ttl.tag === 'after' ? clock.now() + ttl.val : undefined };
    entries.set(key, entry);
    return { tag: 'written', val: version(entry) };
  };
  // Why the entry may not be changed by whoever names this version; undefined if it may.
  const refusal = (key, { era, number }) => {
    if (era !== ERA) return { tag: 'conflict', val: undefined };
    const entry = live(key);
    if (!entry) return { tag: 'absent' };
    return entry.number === number ? undefined : { tag: 'conflict', val: version(entry) };
  };

  const functions = {
    getMany: (keys) => keys.map(look),
    add: (key, value, ttl) => {
      const entry = live(key);
      return entry ? { tag: 'conflict', val: version(entry) } : put(key, value, ttl);
    },
    replace: (key, value, ttl, ifVersion) => refusal(key, ifVersion) ?? put(key, value, ttl),
    delete: (key, ifVersion) => {
      const refused = refusal(key, ifVersion);
      if (!refused) entries.delete(key);
      return refused ?? { tag: 'deleted' };
    },
    // One by one: a map has no way to make several writes in the time of one.
    writeMany: (writes) =>
      writes.map(({ tag, val: { key, value, ttl, ifVersion } }) => {
        if (tag === 'delete') return { tag: 'ok', val: { tag: 'deleted', val: functions.delete(key, ifVersion) } };
        const outcome = tag === 'add' ? functions.add(key, value, ttl) : functions.replace(key, value, ttl, ifVersion);
        return { tag: 'ok', val: { tag: 'written', val: outcome } };
      }),
    era: () => ({ id: ERA, losslessFor: LOSSLESS_FOR }),
  };
  const logged = ([name, call]) => [name, (...args) => (calls.push(name), call(...args))];
  return { calls, functions: Object.fromEntries(Object.entries(functions).map(logged)) };
}
