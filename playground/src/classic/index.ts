// The classic locks: the code that runs, and its text for the page.

import type { Algorithm } from '../sim/classic.ts';
import type { Classic } from '../sim/settings.ts';
import * as compareThenDelete from './compare-then-delete.js';
import compareThenDeleteText from './compare-then-delete.js?text';
import * as getThenSet from './get-then-set.js';
import getThenSetText from './get-then-set.js?text';
import * as noOwner from './no-owner.js';
import noOwnerText from './no-owner.js?text';
import * as touch from './touch.js';
import touchText from './touch.js?text';
import * as unfenced from './unfenced.js';
import unfencedText from './unfenced.js?text';

export type Page = { name: string; algorithm: Algorithm; text: string };

export const CLASSICS: Record<Classic, Page> = {
  'get-then-set': { name: 'get, then set', algorithm: getThenSet, text: getThenSetText },
  'no-owner': { name: 'add without an owner', algorithm: noOwner, text: noOwnerText },
  'compare-then-delete': { name: 'release by delete', algorithm: compareThenDelete, text: compareThenDeleteText },
  touch: { name: 'renewal by touch', algorithm: touch, text: touchText },
  unfenced: { name: 'unfenced lease', algorithm: unfenced, text: unfencedText },
};
