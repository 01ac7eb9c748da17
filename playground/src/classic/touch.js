// "Renewal by touch": a heartbeat makes the entry last longer.

/** @type {import('../sim/classic.ts').Algorithm['acquire']} */
export function* acquire(cache, me) {
  const version = yield* cache.add('report', me.name, me.lease);
  return version && { version };
}

/** @type {import('../sim/classic.ts').Algorithm['renew']} */
export function* renew(cache, me) {
  // True if there is an entry. Whose it is, touch does not say.
  return yield* cache.touch('report', me.lease);
}

/** @type {import('../sim/classic.ts').Algorithm['release']} */
export function* release(cache, _me, { version }) {
  yield* cache.deleteVersion('report', version);
}
