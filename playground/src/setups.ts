// The locks that a world can run, by the names that links use.

import { CLASSICS } from './classic/index.ts';
import type { Setup } from './sim/settings.ts';

export type SetupId = keyof typeof SETUPS;
export type Described = { name: string; note: string; setup: Setup; code?: string };

const KVLOCK = { lock: 'kvlock', isFenced: true, evicts: true, servers: 1 } as const;

export const SETUPS = {
  'get-then-set': classic('get-then-set', 'Looks whether the lock is free, then writes.'),
  'no-owner': classic('no-owner', 'Adds an entry that does not say whose it is.'),
  'compare-then-delete': classic('compare-then-delete', 'Looks whose the entry is, then deletes it.'),
  touch: classic('touch', 'Keeps its lock alive with a heartbeat.'),
  unfenced: classic('unfenced', 'Does everything right, but the resource cannot tell.'),
  kvlock: { name: 'kvlock', note: 'The shipped component; the resource checks its tokens.', setup: KVLOCK },
  'kvlock-unfenced': {
    name: 'kvlock, without fencing',
    note: 'The shipped component; the resource ignores its tokens.',
    setup: { ...KVLOCK, isFenced: false },
  },
  'kvlock-own-cache': {
    name: 'kvlock, on a server of its own',
    note: 'The shipped component; this server evicts nothing.',
    setup: { ...KVLOCK, evicts: false },
  },
  'kvlock-shared-cache': {
    name: 'kvlock, on a shared cache',
    note: 'The shipped component; the cache evicts when it is full.',
    setup: KVLOCK,
  },
  'kvlock-two-servers': {
    name: 'kvlock, on two servers',
    note: 'The shipped component; half of the clients were told another server.',
    setup: { ...KVLOCK, servers: 2 },
  },
} satisfies Record<string, Described>;

export function isSetup(id: string): id is SetupId {
  return Object.hasOwn(SETUPS, id);
}

function classic(lock: keyof typeof CLASSICS, note: string): Described {
  const { name, text } = CLASSICS[lock];
  return { name, note, setup: { lock }, code: text };
}
