// The browsers that the page is tried in. Chromium has to be there.

import { Chromium } from './chromium.mjs';
import { Firefox } from './firefox.mjs';
import { WebKit } from './webkit.mjs';

export const BROWSERS = [
  { Kind: Chromium, isThere: true },
  { Kind: Firefox, isThere: Firefox.program() !== undefined },
  { Kind: WebKit, isThere: WebKit.program() !== undefined },
];
