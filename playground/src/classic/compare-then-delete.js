// "Release by delete": the entry says whose it is, and its owner looks before it deletes.

/** @type {import('../sim/classic.ts').Algorithm['acquire']} */
export function* acquire(cache, me) {
  const isMine = yield* cache.add('report', me.name, me.lease);
  return isMine ? {} : undefined;
}

/** @type {import('../sim/classic.ts').Algorithm['renew']} */
export function* renew(cache, me) {
  const found = yield* cache.get('report');
  if (found !== me.name) return false;
  yield* cache.set('report', me.name, me.lease);
  return true;
}

/** @type {import('../sim/classic.ts').Algorithm['release']} */
export function* release(cache, me) {
  const found = yield* cache.get('report');
  // It was mine when I looked. Is it still mine when the delete arrives?
  if (found === me.name) yield* cache.delete('report');
}
