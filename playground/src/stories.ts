// The stories: each a world, what happens to it, a question and its answer.

import type { SetupId } from './setups.ts';
import type { Deed, Settings } from './sim/settings.ts';

export type Group = 'classic' | 'limits' | 'more';

export type Story = {
  id: string;
  group: Group;
  title: string;
  question: string;
  intro: string;
  answer: string;
  /** The lock that is compared; none shows kvlock alone. */
  left: SetupId | undefined;
  right: SetupId;
  settings: Partial<Settings>;
  seed: number;
  deeds: Deed[];
  /** Where the story ends, in milliseconds. */
  until: number;
};

export const GROUPS: Record<Group, string> = {
  classic: 'Classic locks, beside kvlock',
  limits: 'Where kvlock promises nothing',
  more: 'More that it does',
};

export const STORIES: Story[] = [
  {
    id: 'get-then-set',
    group: 'classic',
    title: 'Look, then take',
    question: 'Two clients look at the same moment. Who gets the lock?',
    intro: 'The first lock of many programs: read the entry, and if there is none, write one.',
    answer:
      'Both. Each read “nothing there” before the other wrote. kvlock never reads first: it sends one request, “add this, but only if nothing is there”, and the server decides.',
    left: 'get-then-set',
    right: 'kvlock',
    settings: {},
    seed: 1,
    deeds: [],
    until: 6000,
  },
  {
    id: 'no-owner',
    group: 'classic',
    title: 'Nobody’s name on it',
    question: 'Ada’s release is done, but its reply is lost. May she send it again?',
    intro: 'The entry says that somebody has the lock, not who. A release deletes it.',
    answer:
      'Not without a name on it. The second delete frees the lock that Cleo has by now, and Ben comes in beside Cleo. kvlock deletes its own version and no other: sent twice, that does nothing the second time.',
    left: 'no-owner',
    right: 'kvlock',
    settings: {},
    seed: 1,
    deeds: [{ time: 2800, action: 'lose-reply', client: 0 }],
    until: 8000,
  },
  {
    id: 'compare-then-delete',
    group: 'classic',
    title: 'Mine when I looked',
    question: 'Ada checks that the lock is hers, then deletes it. What if the delete is slow?',
    intro: 'The entry has a name on it now, and its owner looks before it deletes.',
    answer:
      'It arrives after her lease is over, and deletes the lock that somebody else has by now. To look and to delete were two requests. kvlock’s delete names the version, so that the server does both in one.',
    left: 'compare-then-delete',
    right: 'kvlock',
    settings: { work: 3200 },
    seed: 1,
    deeds: [{ time: 4030, action: 'delay-request', client: 0 }],
    until: 13000,
  },
  {
    id: 'touch',
    group: 'classic',
    title: 'The heartbeat of another',
    question: 'Ada stops for longer than her lease, and wakes up. Can she tell that her lock is gone?',
    intro: 'A heartbeat makes the entry last longer. Then Ada’s process is frozen, as by a garbage collector.',
    answer:
      'Not from a touch: it answers “there is an entry”, and that is somebody else’s. Now two work. kvlock renews its own version only, so Ada learns at once that the lock is lost. What she had sent before is refused for its token.',
    left: 'touch',
    right: 'kvlock',
    settings: {},
    seed: 1,
    deeds: [
      { time: 1500, action: 'freeze', client: 0 },
      { time: 8000, action: 'thaw', client: 0 },
    ],
    until: 11000,
  },
  {
    id: 'fencing',
    group: 'classic',
    title: 'What a token is for',
    question: 'This lock does everything right. How can an old holder still destroy new data?',
    intro: 'Ada looks at her lease, computes, and is frozen before she writes. No lock can see that.',
    answer:
      'By a write that is late: Ada’s lease was valid when she looked. With kvlock each grant has a fencing token, larger than all before. The resource has seen a larger one than Ada’s, and refuses hers. That is all a token is for. Click the crossed square to read both numbers.',
    left: 'unfenced',
    right: 'kvlock',
    settings: {},
    seed: 1,
    deeds: [
      { time: 1500, action: 'freeze', client: 0 },
      { time: 8000, action: 'thaw', client: 0 },
    ],
    until: 11000,
  },
  {
    id: 'restart',
    group: 'classic',
    title: 'Why everybody waits',
    question: 'The server restarts and has forgotten every lock. When may the next one be granted?',
    intro: 'A cache keeps locks in memory only. Ada works, and does not notice that the server was away.',
    answer:
      'Only when the longest lease is over, because a forgotten holder may be at work until then. The other lock is granted at once, beside Ada. kvlock sees that the server is young, and makes everybody wait: the quarantine. Set it to 0 below, and kvlock loses as well.',
    left: 'unfenced',
    right: 'kvlock',
    settings: { work: 4000 },
    seed: 1,
    deeds: [{ time: 2600, action: 'restart' }],
    until: 12500,
  },
  {
    id: 'eviction',
    group: 'limits',
    title: 'A cache that evicts',
    question: 'The cache is full and throws one entry away: the lock. Does kvlock notice?',
    intro: 'An eviction is not a restart: the server goes on as if nothing had happened, and tells nobody.',
    answer:
      'No: nothing but the lock was lost, so the next client gets it, and two hold it. kvlock promises nothing on a cache that evicts. Give locks a server of their own; the token still keeps the resource safe.',
    left: 'kvlock-shared-cache',
    right: 'kvlock-own-cache',
    settings: { work: 4000 },
    seed: 1,
    deeds: [{ time: 2600, action: 'evict' }],
    until: 9000,
  },
  {
    id: 'unfenced-resource',
    group: 'limits',
    title: 'Nobody checks the token',
    question: 'kvlock gives out tokens. What if the resource does not look at them?',
    intro: 'The same lock twice, and the same freeze. Only one of the two resources checks.',
    answer:
      'Then a late write destroys newer data, with any lock that has a lease. What cannot check a token, and cannot bear a rare late write, should not be guarded by a lease at all.',
    left: 'kvlock-unfenced',
    right: 'kvlock',
    settings: {},
    seed: 1,
    deeds: [
      { time: 1500, action: 'freeze', client: 0 },
      { time: 8000, action: 'thaw', client: 0 },
    ],
    until: 11000,
  },
  {
    id: 'two-servers',
    group: 'limits',
    title: 'Two servers, one name',
    question: 'Half of the clients were configured with another server. Who excludes whom?',
    intro: 'A lock lives on one server. Ben’s configuration names another one than Ada’s and Cleo’s.',
    answer:
      'Each server excludes its own clients, and nobody else: two hold the lock. No lock can see a server that it was not told about. All clients have to be given the same servers.',
    left: 'kvlock-two-servers',
    right: 'kvlock',
    settings: {},
    seed: 1,
    deeds: [],
    until: 8000,
  },
  {
    id: 'handover',
    group: 'more',
    title: 'Hand-over',
    question: 'Two waiters sit in one process. Must both ask the store?',
    intro: 'Ada and Ben are sessions of one process, Cleo and Dan of another.',
    answer:
      'No. Only the first of a process asks. A holder that releases makes a waiter of its own process the holder, by one write and without a race. After eight such hand-overs the others get their turn.',
    left: undefined,
    right: 'kvlock',
    settings: { kind: 'handover', clients: 4 },
    seed: 1,
    deeds: [],
    until: 20000,
  },
  {
    id: 'semaphore',
    group: 'more',
    title: 'Semaphore',
    question: 'Four clients, two permits. What happens to the permit of a client that is killed?',
    intro: 'A semaphore lets so many in at a time. Each permit is a record of its own, with a lease of its own.',
    answer: 'It comes back when its lease is over, and a waiter gets it. Nobody has to clean up.',
    left: undefined,
    right: 'kvlock',
    settings: { kind: 'semaphore', clients: 4 },
    seed: 1,
    deeds: [{ time: 3000, action: 'crash', client: 0 }],
    until: 14000,
  },
  {
    id: 'readers',
    group: 'more',
    title: 'Readers and a writer',
    question: 'Readers come and go without a break. Does Ada, who writes, ever get in?',
    intro: 'Ben, Cleo and Dan only read, and share the lock. Ada wants it alone.',
    answer: 'Yes: a writer that waits leaves a sign, and readers that come later wait behind it.',
    left: undefined,
    right: 'kvlock',
    settings: { kind: 'readers', clients: 4 },
    seed: 1,
    deeds: [],
    until: 18000,
  },
  {
    id: 'retry',
    group: 'more',
    title: 'Conflict retry',
    question: 'Cleo uses no lock, and her write gets in the way of another’s. Who goes next?',
    intro: 'The resource refuses a write whose reader is out of date. Ada and Ben lock; Cleo does not.',
    answer:
      'Whoever met the conflict: its lock stays reserved for its next try, so that it runs into nobody else who locks.',
    left: undefined,
    right: 'kvlock',
    settings: { kind: 'retry' },
    seed: 1,
    deeds: [],
    until: 16000,
  },
];
