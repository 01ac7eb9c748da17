// Installs what the build needs, unless that is there already, exactly as package-lock.json has it.

import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const HERE = import.meta.dirname ?? new URL('.', import.meta.url).pathname;
const MARK = join(HERE, 'node_modules/.installed');

const wanted = readFileSync(join(HERE, 'package-lock.json'), 'utf8');
if (read(MARK) !== wanted) {
  try {
    execFileSync('npm', ['ci', '--loglevel=error'], { cwd: HERE, stdio: ['ignore', 'ignore', 'inherit'] });
  } catch (error) {
    console.error('The playground needs npm, and a registry that it reaches: apt-get install nodejs npm');
    throw error;
  }
  writeFileSync(MARK, wanted);
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
