// "Add without an owner": whoever adds the entry has the lock. The entry does not say who that is.

/** @type {import('../sim/classic.ts').Algorithm['acquire']} */
export function* acquire(cache, me) {
  const isMine = yield* cache.add('report', 1, me.lease);
  return isMine ? {} : undefined;
}

/** @type {import('../sim/classic.ts').Algorithm['renew']} */
export function* renew(cache, me) {
  return yield* cache.touch('report', me.lease);
}

/** @type {import('../sim/classic.ts').Algorithm['release']} */
export function* release(cache) {
  for (;;) {
    try {
      return yield* cache.delete('report');
    } catch {
      // No answer came. To delete twice does no harm, does it?
    }
  }
}
