// Makes the component app.wasm of app.js.

import { writeFile } from 'node:fs/promises';
import { componentize } from '@bytecodealliance/componentize-js';

const { component } = await componentize({
  sourcePath: 'app.js',
  witPath: 'wit',
  worldName: 'guest',
  // It serves and fetches nothing. The platform need not have HTTP, then.
  disableFeatures: ['http', 'fetch-event'],
});
await writeFile('app.wasm', component);
