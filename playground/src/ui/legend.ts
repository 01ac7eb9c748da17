// What the signs mean. The signs are drawn as the worlds draw them.

import { find, make } from './dom.ts';

/** Each sign as the inner part of an SVG of 44 by 20, and its meaning. */
const SIGNS: [string, string][] = [
  [
    '<rect class="fill" x="1" y="2" width="42" height="16" rx="4"/><text class="on" x="7" y="14">1001</text>',
    'a client believes that it holds the lock; the number is its fencing token, larger than all before',
  ],
  ['<path class="line dashed" d="M1 10h42"/>', 'a client waits; the word above says for what'],
  [
    '<rect class="line" x="1" y="3" width="42" height="14" rx="4"/><rect class="fill" x="1" y="3" width="4" height="14"/><text x="9" y="14">Ada</text>',
    'what the server has: whose record, and its token',
  ],
  [
    '<path class="line" d="M6 18 14 3m0 0-5 4m5-4 1 6"/><path class="line dashed" d="M26 3l9 15m0 0-6-3m6 3 0-7"/>',
    'a request, and its reply; faint if it changes nothing',
  ],
  [
    '<path class="line bad" d="M8 18 16 9m-4-4 8 8m0-8-8 8"/>',
    'a message that is lost on its way; small, one that nobody waits for any more',
  ],
  [
    '<circle class="line" cx="12" cy="10" r="8"/><text x="8.5" y="14">R</text><circle class="line" cx="33" cy="10" r="8"/><text x="29" y="14">H</text>',
    'renewed; handed over to another session of the same process',
  ],
  [
    '<circle class="fill" cx="12" cy="10" r="7"/><path class="line on" d="M8.5 10l2.5 3 4.5-5.5"/><rect class="line" x="26" y="3" width="14" height="14"/><path class="line" d="m29.5 6.5 7 7m0-7-7 7"/>',
    'the resource accepts a write; refuses one, because its token is old',
  ],
  [
    '<circle class="fill bad" cx="12" cy="10" r="8"/><text class="on" x="10" y="14.5">!</text><path class="line bad thick" d="m28 5 10 10m0-10-10 10"/>',
    'a late write overwrites newer data; a client learns that its lock is lost',
  ],
  [
    '<rect class="hatched" x="1" y="2" width="42" height="16"/>',
    'hatched: frozen, killed, down or in quarantine; red, over all clients: too many holders',
  ],
  ['<path class="warn" d="M14 4h16l-8 12z"/>', 'something is done from outside'],
];

const DEFS =
  '<defs><pattern id="hatch" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="line" d="M0 0v6"/></pattern></defs>';

export function showLegend(): void {
  const entries = SIGNS.map(([sign, text]) => {
    const icon = make('span', { 'aria-hidden': 'true' });
    icon.innerHTML = `<svg viewBox="0 0 44 20" width="44" height="20">${DEFS}${sign}</svg>`;
    return make('li', {}, icon, text);
  });
  const hint =
    'Point at anything in a world, or go there by keyboard and use the arrow keys: one sentence says what it is. ' +
    'The space bar runs and pauses, “.” steps, “+” and “−” zoom.';
  find('legend').append(make('h2', {}, 'How to read it'), make('p', {}, hint), make('ul', {}, ...entries));
}
