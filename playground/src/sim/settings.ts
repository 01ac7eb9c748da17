// What a run is a function of: settings, a seed, and what the visitor did when.

export type Kind = 'lock' | 'handover' | 'semaphore' | 'readers' | 'retry';
export type Classic = 'get-then-set' | 'no-owner' | 'compare-then-delete' | 'touch' | 'unfenced';

/** Which lock a world runs, and on what. */
export type Setup = { lock: Classic } | { lock: 'kvlock'; isFenced: boolean; evicts: boolean; servers: 1 | 2 };

export type Settings = {
  kind: Kind;
  /** How many clients there are. */
  clients: number;
  /** Milliseconds. */
  lease: number;
  /** Milliseconds; undefined waits for ever. */
  wait: number | undefined;
  /** Milliseconds. */
  quarantine: number;
  /** How long a client works under the lock, in milliseconds. */
  work: number;
  /** How many permits the semaphore has. */
  permits: number;
};

export type ServerAction = 'kill' | 'start' | 'restart' | 'flush' | 'evict' | 'break';
export type ClientAction =
  | 'freeze'
  | 'thaw'
  | 'crash'
  | 'revive'
  | 'lose-request'
  | 'lose-reply'
  | 'delay-request'
  | 'delay-write'
  | 'clock';

/** Something that the visitor did. */
export type Deed = { time: number; action: ServerAction } | { time: number; action: ClientAction; client: number };

export const NAMES = ['Ada', 'Ben', 'Cleo', 'Dan', 'Eva', 'Finn', 'Gwen', 'Hugo'];

export const DEFAULTS: Settings = {
  kind: 'lock',
  clients: 3,
  lease: 6000,
  wait: undefined,
  quarantine: 6000,
  work: 2400,
  permits: 2,
};

export const KVLOCK: Setup = { lock: 'kvlock', isFenced: true, evicts: true, servers: 1 };
