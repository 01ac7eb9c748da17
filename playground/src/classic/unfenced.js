// "Unfenced lease": everything by the book. It adds, renews its own version, deletes its own version, and knows until
// when the lease is valid. Only nobody tells the resource whose turn it is.

/** @type {import('../sim/classic.ts').Algorithm['acquire']} */
export function* acquire(cache, me) {
  const validUntil = me.now() + me.lease;
  const version = yield* cache.add('report', me.name, me.lease);
  return version && { version, validUntil };
}

/** @type {import('../sim/classic.ts').Algorithm['renew']} */
export function* renew(cache, me, mine) {
  const validUntil = me.now() + me.lease;
  const version = yield* cache.replaceVersion('report', me.name, me.lease, mine.version);
  if (version) Object.assign(mine, { version, validUntil });
  return Boolean(version);
}

/** @type {import('../sim/classic.ts').Algorithm['release']} */
export function* release(cache, _me, { version }) {
  yield* cache.deleteVersion('report', version);
}
