// A run as a link: all that it is a function of, in the fragment of the address. What a story says by itself is left out.

import { isSetup, type SetupId } from './setups.ts';
import type { ClientAction, Deed, Kind, ServerAction, Settings } from './sim/settings.ts';
import { DEFAULTS, NAMES } from './sim/settings.ts';
import { STORIES, type Story } from './stories.ts';

/** What is run, and the time that is shown. */
export type Run = {
  story: Story;
  left: SetupId | undefined;
  settings: Settings;
  seed: number;
  deeds: Deed[];
  time: number;
};

const KINDS: Kind[] = ['lock', 'handover', 'semaphore', 'readers', 'retry'];
const SERVER_ACTIONS: ServerAction[] = ['kill', 'start', 'restart', 'flush', 'evict', 'break'];
const CLIENT_ACTIONS: ClientAction[] = [
  'freeze',
  'thaw',
  'crash',
  'revive',
  'lose-request',
  'lose-reply',
  'delay-request',
  'delay-write',
  'clock',
];

/** The limits of what a visitor may set; times in milliseconds. */
export const LIMITS = {
  clients: [1, NAMES.length],
  lease: [2000, 30_000],
  wait: [0, 60_000],
  quarantine: [0, 30_000],
  work: [800, 20_000],
  permits: [1, NAMES.length],
  seed: [0, 999_999],
  time: [0, 120_000],
} as const;

/** A story as it is told. */
export function begin(story: Story): Run {
  const { left, seed, deeds } = story;
  return { story, left, settings: { ...DEFAULTS, ...story.settings }, seed, deeds: [...deeds], time: 0 };
}

/** Reads a link; what is not understood is as the story says. */
export function parse(fragment: string): Run {
  const words = new URLSearchParams(fragment.replace(/^#/, ''));
  const run = begin(STORIES.find((story) => story.id === words.get('story')) ?? (STORIES[0] as Story));
  const left = words.get('left');
  if (left !== null && (isSetup(left) || left === 'none')) run.left = left === 'none' ? undefined : left;
  const kind = KINDS.find((kind) => kind === words.get('kind'));
  if (kind) run.settings.kind = kind;
  for (const name of ['clients', 'lease', 'quarantine', 'work', 'permits'] as const) {
    run.settings[name] = number(words, name) ?? run.settings[name];
  }
  run.settings.wait = words.get('wait') === 'forever' ? undefined : (number(words, 'wait') ?? run.settings.wait);
  run.seed = number(words, 'seed') ?? run.seed;
  run.time = number(words, 'time') ?? 0;
  const did = words.get('did');
  if (did !== null)
    run.deeds = did
      .split('~')
      .map(parseDeed)
      .filter((deed) => deed !== undefined);
  return run;
}

/** Writes a link. */
export function format(run: Run): string {
  const told = begin(run.story);
  const words = new URLSearchParams({ story: run.story.id });
  const put = (name: string, value: unknown, usual: unknown) => {
    if (value !== usual) words.set(name, String(value));
  };
  put('left', run.left ?? 'none', told.left ?? 'none');
  for (const name of ['kind', 'clients', 'lease', 'quarantine', 'work', 'permits'] as const) {
    put(name, run.settings[name], told.settings[name]);
  }
  put('wait', run.settings.wait ?? 'forever', told.settings.wait ?? 'forever');
  put('seed', run.seed, told.seed);
  const did = (deeds: Deed[]) => deeds.map(formatDeed).join('~');
  put('did', did(run.deeds), did(told.deeds));
  put('time', Math.floor(run.time), 0);
  return `#${words}`;
}

/** Whether a run is its story, as it is told. */
export function isUnchanged(run: Run): boolean {
  return format({ ...run, time: 0 }) === format(begin(run.story));
}

/** A number within its limits. */
function number(words: URLSearchParams, name: keyof typeof LIMITS): number | undefined {
  const value = words.get(name);
  if (value === null || !/^\d+$/.test(value)) return undefined;
  const [least, most] = LIMITS[name];
  return Math.min(most, Math.max(least, Number(value)));
}

function formatDeed(deed: Deed): string {
  return [deed.time, deed.action, ...('client' in deed ? [deed.client] : [])].join('.');
}

function parseDeed(text: string): Deed | undefined {
  const [when, what, who] = text.split('.');
  const time = Number(when);
  if (!when || !/^\d+$/.test(when) || time > LIMITS.time[1]) return undefined;
  const ofServer = SERVER_ACTIONS.find((action) => action === what);
  if (ofServer) return { time, action: ofServer };
  const ofClient = CLIENT_ACTIONS.find((action) => action === what);
  const client = Number(who);
  const isClient = who !== undefined && /^\d$/.test(who) && client < NAMES.length;
  return ofClient && isClient ? { time, action: ofClient, client } : undefined;
}
