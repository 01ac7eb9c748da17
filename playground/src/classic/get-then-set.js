// "Get, then set": look whether the lock is free; if so, write that it is mine.

/** @type {import('../sim/classic.ts').Algorithm['acquire']} */
export function* acquire(cache, me) {
  const found = yield* cache.get('report');
  if (found !== undefined && found.until > me.clock()) return undefined;
  // Between the look above and the write below, somebody else may have looked as well.
  const until = me.clock() + me.lease;
  yield* cache.set('report', { owner: me.name, until }, me.lease);
  return {};
}

/** @type {import('../sim/classic.ts').Algorithm['renew']} */
export function* renew(cache, me) {
  const until = me.clock() + me.lease;
  yield* cache.set('report', { owner: me.name, until }, me.lease);
  return true;
}

/** @type {import('../sim/classic.ts').Algorithm['release']} */
export function* release(cache) {
  yield* cache.delete('report');
}
