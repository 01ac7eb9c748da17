// What the visitor can do: faults, settings, and the list of what was done.

import { LIMITS, type Run } from '../link.ts';
import { isSetup, SETUPS } from '../setups.ts';
import { type ClientAction, type Deed, type Kind, NAMES, type ServerAction } from '../sim/settings.ts';
import { button, find, make } from './dom.ts';

const SERVER: [ServerAction, string, string][] = [
  ['restart', 'Restart it', 'It is away for a moment, and has forgotten everything'],
  ['kill', 'Kill it', 'It is gone until you start it'],
  ['start', 'Start it', 'It comes back empty'],
  ['flush', 'Flush it', 'It forgets everything, and says so to nobody'],
  ['evict', 'Evict the lock', 'The cache is full, and throws the lock away'],
  ['break', 'Break the lock', 'As an operator: end whoever has it'],
];

const CLIENT: [ClientAction, string, string][] = [
  ['freeze', 'Freeze', 'Nothing in its process runs, as in a pause of a garbage collector'],
  ['thaw', 'Thaw', 'It runs on, and does not know how long it was stopped'],
  ['crash', 'Kill', 'Its process ends, and tells nobody'],
  ['revive', 'Start', 'Its process starts again, and knows nothing'],
  ['lose-request', 'Lose its next request', 'The server never sees it'],
  ['lose-reply', 'Lose its next reply', 'The server does it, and the client does not learn so'],
  ['delay-request', 'Delay its next request', 'It arrives after the lease is over'],
  ['delay-write', 'Delay its next write', 'It arrives at the resource after the lease is over'],
  ['clock', 'Set its clock an hour ahead', 'Its wall clock is wrong from now on'],
];

const KINDS: [Kind, string][] = [
  ['lock', 'a lock'],
  ['handover', 'a lock, several sessions in a process'],
  ['semaphore', 'a semaphore'],
  ['readers', 'readers and a writer'],
  ['retry', 'conflict retry'],
];

export type Hands = {
  act: (action: Omit<Deed, 'time'>) => void;
  change: (run: Run) => void;
};

/** Makes the buttons for faults; returns the choice of the client that they are for. */
export function makeActions(hands: Hands): HTMLSelectElement {
  const client = find<HTMLSelectElement>('client');
  const chosen = () => Number(client.value);
  find('server-actions').append(
    ...SERVER.map(([action, text, title]) =>
      button(text, title, () => hands.act({ action }), { 'data-action': action }),
    ),
  );
  find('client-actions').append(
    ...CLIENT.map(([action, text, title]) =>
      button(text, title, () => hands.act({ action, client: chosen() } as Deed), { 'data-action': action }),
    ),
  );
  return client;
}

/** Shows which clients there are. */
export function showClients(client: HTMLSelectElement, run: Run): void {
  const names = NAMES.slice(0, run.settings.clients);
  if (client.options.length === names.length) return;
  const chosen = Math.min(Number(client.value), names.length - 1);
  client.replaceChildren(...names.map((name, at) => make('option', { value: String(at) }, name)));
  client.value = String(Math.max(0, chosen));
}

/** Shows the settings of a run. */
export function showSettings(run: Run, hands: Hands): void {
  const { settings } = run;
  const change = (settings: Partial<Run['settings']>) =>
    hands.change({ ...run, settings: { ...run.settings, ...settings } });
  const seconds = (name: 'lease' | 'work' | 'quarantine', text: string, title: string) =>
    number(text, title, settings[name] / 1000, LIMITS[name].map((limit) => limit / 1000) as [number, number], (value) =>
      change({ [name]: Math.round(value * 1000) }),
    );
  const wait = number(
    'wait, in s',
    'How long a client waits for the lock; empty: for ever',
    (settings.wait ?? Number.NaN) / 1000,
    [0, 60],
    (value) => change({ wait: Number.isNaN(value) ? undefined : Math.round(value * 1000) }),
  );
  const compared = choice(
    'compared with',
    'The lock in the first world',
    run.left ?? 'none',
    [['none', 'nothing'], ...Object.entries(SETUPS).map(([id, { name }]): [string, string] => [id, name])],
    (value) => hands.change({ ...run, left: isSetup(value) ? value : undefined }),
  );
  const fields = [
    choice('what', 'What the clients use', settings.kind, KINDS, (kind) => change({ kind: kind as Kind })),
    compared,
    number('clients', 'How many clients there are', settings.clients, LIMITS.clients, (clients) => change({ clients })),
    seconds('lease', 'lease, in s', 'How long a grant lasts unless it is renewed'),
    wait,
    seconds('quarantine', 'quarantine, in s', 'How long nothing is granted after a loss of everything'),
    seconds('work', 'work, in s', 'How long a client works under the lock'),
    ...(settings.kind === 'semaphore'
      ? [
          number('permits', 'How many may hold at once', settings.permits, LIMITS.permits, (permits) =>
            change({ permits }),
          ),
        ]
      : []),
    number('seed', 'Another seed is another network', run.seed, LIMITS.seed, (seed) => hands.change({ ...run, seed })),
  ];
  const legend = find('settings').querySelector('legend') as HTMLElement;
  find('settings').replaceChildren(legend, ...fields);
}

/** Shows what was done from outside, each with a way to undo it. */
export function showDeeds(run: Run, hands: Hands): void {
  const list = find('deeds');
  list.hidden = run.deeds.length === 0;
  const deeds = [...run.deeds].sort((one, other) => one.time - other.time);
  const chips = deeds.map((deed) => {
    const undo = () => hands.change({ ...run, deeds: run.deeds.filter((other) => other !== deed) });
    const text = `${(deed.time / 1000).toFixed(1)} s: ${sayDeed(deed)}`;
    return make('li', {}, `${text} `, button('×', `Undo: ${text}`, undo, { 'aria-label': `Undo: ${text}` }));
  });
  list.replaceChildren(make('h3', {}, 'From outside'), make('ul', {}, ...chips));
}

export function sayDeed(deed: Deed): string {
  const text = [...SERVER, ...CLIENT].find(([action]) => action === deed.action)?.[1] ?? deed.action;
  return 'client' in deed ? `${NAMES[deed.client]}: ${text.replace(' its', '')}` : text.replace(' it', ' the server');
}

function number(
  text: string,
  title: string,
  value: number,
  [least, most]: readonly [number, number],
  act: (value: number) => void,
): HTMLElement {
  const shown = Number.isNaN(value) ? '' : String(value);
  const input = make('input', {
    type: 'number',
    min: String(least),
    max: String(most),
    step: 'any',
    value: shown,
    placeholder: 'for ever',
  });
  input.addEventListener('change', () => {
    const given = input.valueAsNumber;
    act(Number.isNaN(given) ? given : Math.min(most, Math.max(least, given)));
  });
  return make('label', { title }, `${text} `, input);
}

function choice(
  text: string,
  title: string,
  value: string,
  options: [string, string][],
  act: (value: string) => void,
): HTMLElement {
  const select = make('select', {}, ...options.map(([id, name]) => make('option', { value: id }, name)));
  select.value = value;
  select.addEventListener('change', () => act(select.value));
  return make('label', { title }, `${text} `, select);
}
