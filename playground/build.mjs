// Builds the playground: one folder of static files.
//
//     node build.mjs [OUT]                  the page, in ../target/playground
//     node build.mjs --for-node IN OUT      one module of src for Node, for tests

import { createHash } from 'node:crypto';
import { cp, mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { transpile, writeFiles } from '@bytecodealliance/jco-transpile';
import { build } from 'esbuild';

const HERE = dirname(fileURLToPath(import.meta.url));
const GENERATED = join(HERE, 'generated');
const COMPONENT = resolve(HERE, '../host/component/kvlock.wasm');

// The text of a file, for `import text from './file.js?text'`.
const TEXTS = {
  name: 'texts',
  /** @param {import('esbuild').PluginBuild} build */
  setup(build) {
    build.onResolve({ filter: /\?text$/ }, ({ path, resolveDir }) => ({
      path: join(resolveDir, path.replace('?text', '')),
      namespace: 'text',
    }));
    build.onLoad({ filter: /./, namespace: 'text' }, async ({ path }) => ({
      // Without what only the type checker reads.
      contents: (await readFile(path, 'utf8')).replaceAll(/^\/\*\* @type .*\n/gm, ''),
      loader: /** @type {const} */ ('text'),
    }));
  },
};

/** @satisfies {import('esbuild').BuildOptions} */
const COMMON = {
  bundle: true,
  target: 'es2022',
  plugins: [TEXTS],
  logLevel: /** @type {const} */ ('warning'),
};

// Makes the JavaScript of the component, with its types, and both compressed as text, unless they are there.
async function generate() {
  const sources = [COMPONENT, join(HERE, 'package-lock.json'), fileURLToPath(import.meta.url)];
  const hash = createHash('sha256');
  for (const source of sources) hash.update(await readFile(source));
  const state = hash.digest('hex');
  const mark = join(GENERATED, 'state');
  if ((await readFile(mark, 'utf8').catch(() => '')) === state) return;
  const { files } = await transpile(COMPONENT, { outDir: GENERATED, name: 'kvlock', instantiation: 'sync' });
  await writeFiles(files);
  const texts = { COMPONENT: await readFile(COMPONENT), GLUE: await glue() };
  const lines = Object.entries(texts).map(([name, bytes]) => `export const ${name} =\n  '${packed(bytes)}';\n`);
  await writeFile(join(GENERATED, 'packed.js'), lines.join(''));
  await writeFile(join(GENERATED, 'packed.d.ts'), 'export const COMPONENT: string;\nexport const GLUE: string;\n');
  await writeFile(mark, state);
}

// Makes what jco generates small.
async function glue() {
  // What jco logs when it is debugged is a tenth of its code. Nobody defines the function that it is logged with, so
  // that esbuild can leave the calls out.
  const text = (await readFile(join(GENERATED, 'kvlock.js'), 'utf8')).replace(
    'const _debugLog =',
    'const _logNothing =',
  );
  const { outputFiles } = await build({
    ...COMMON,
    stdin: { contents: text, loader: 'js' },
    pure: ['_debugLog'],
    // A run must not depend on when the engine collects garbage: nothing is dropped that the code does not drop.
    define: { FinalizationRegistry: 'NeverCollected' },
    inject: [join(HERE, 'src/never-collected.js')],
    format: 'esm',
    minify: true,
    write: false,
  });
  return /** @type {import('esbuild').OutputFile} */ (outputFiles[0]).contents;
}

/** @param {Uint8Array} bytes */
function packed(bytes) {
  return gzipSync(bytes, { level: 9 }).toString('base64');
}

/** @param {string} out */
async function page(out) {
  await rm(out, { recursive: true, force: true });
  await mkdir(out, { recursive: true });
  await build({
    ...COMMON,
    entryPoints: [join(HERE, 'src/main.ts')],
    outfile: join(out, 'playground.js'),
    format: 'iife',
    minify: true,
  });
  await build({
    ...COMMON,
    entryPoints: [join(HERE, 'src/style.css')],
    outfile: join(out, 'playground.css'),
    minify: true,
  });
  await cp(join(HERE, 'src/index.html'), join(out, 'index.html'));
  await cp(COMPONENT, join(out, basename(COMPONENT)));
}

const [first, ...rest] = process.argv.slice(2);
await generate();
if (first === '--for-node') {
  const [entry, outfile] = rest;
  if (!entry || !outfile) throw new Error('usage: node build.mjs --for-node IN OUT');
  await build({ ...COMMON, entryPoints: [entry], outfile, format: 'esm', platform: 'node' });
} else {
  await page(resolve(first ?? join(HERE, '../target/playground')));
}
