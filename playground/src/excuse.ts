// Where kvlock promises nothing: why a world with it fails all the same.

import type { Run } from './link.ts';
import type { Deed, Setup } from './sim/settings.ts';

/** Says what kvlock does not guard against, if that is there or has happened. */
export function excuse(setup: Setup, { settings, deeds }: Run, time: number): string | undefined {
  if (setup.lock !== 'kvlock') return undefined;
  const before = deeds.filter((deed) => deed.time <= time);
  const has = (...actions: Deed['action'][]) => before.some((deed) => actions.includes(deed.action));
  if (setup.servers > 1) return 'kvlock promises nothing here: its clients were told different servers.';
  if (setup.evicts && has('evict')) return 'kvlock promises nothing here: the cache has evicted a lock.';
  if (has('break')) return 'You broke the lock: until its holder hears of it, it may still be at work.';
  if (settings.quarantine < settings.lease && has('restart', 'kill', 'flush')) {
    return 'kvlock promises nothing here: the quarantine is shorter than the lease.';
  }
  return setup.isFenced ? undefined : 'kvlock promises nothing here: the resource does not look at the token.';
}
