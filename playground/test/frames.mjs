// Measures in each browser how fast the page is drawn while eight clients run in two worlds, and how soon it is there.
// Linux only: it reads from /proc how long each thread ran, and tells of the best second. A busy machine spoils that least.
//
//     npm run frames -- [SECONDS [FOLDER]]

import { readdirSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { BROWSERS } from './browsers.mjs';

const [seconds = '10', folder = '../target/playground'] = process.argv.slice(2);
const RUN = '#story=get-then-set&clients=8';

/** Where to measure: at the beginning, and where much has happened, in virtual milliseconds. */
const FROM = [0, 60_000];

const COUNT = `globalThis.frames = [];
  { const next = (time) => { frames.push(time); requestAnimationFrame(next); }; requestAnimationFrame(next); }`;

for (const { Kind } of BROWSERS.filter(({ isThere }) => isThere)) {
  const browser = await Kind.start('light');
  try {
    await browser.size(1280, 900);
    const page = pathToFileURL(resolve(folder, 'index.html')).href;
    await browser.open(page + RUN);
    const paint = await browser.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime");
    console.log(`${Kind.name}: the first paint after ${Math.round(paint)} ms`);
    await browser.evaluate(COUNT);
    for (const from of FROM) console.log(`  from ${from / 1000} s: ${await measure(browser, from)}`);
  } finally {
    await browser.close();
  }
}

/**
 * Lets time run, and says what that takes.
 * @param {import('./browser.mjs').Browser} browser
 * @param {number} from
 */
async function measure(browser, from) {
  await browser.evaluate(`{ const time = document.getElementById('time');
    time.max = '120000'; time.value = '${from}'; time.dispatchEvent(new Event('input')); }`);
  await browser.until(`Number(document.body.dataset.time) === ${from}`);
  await browser.evaluate("document.getElementById('play').click()");
  await browser.evaluate('{ frames = []; }');
  const looks = [await look(browser)];
  for (let second = 0; second < Number(seconds); second++) {
    await sleep(1000);
    looks.push(await look(browser));
  }
  const times = await browser.evaluate('frames');
  await browser.evaluate("document.getElementById('play').click()");
  const costs = between(looks, (one, other) => {
    const ran = [...other.ran].map(([thread, ms]) => ms - (one.ran.get(thread) ?? 0));
    return Math.max(...ran) / (other.frames - one.frames);
  });
  const gaps = between(times, (/** @type {number} */ one, /** @type {number} */ other) => other - one);
  const rate = (1000 * gaps.length) / (times.at(-1) - times[0]);
  const passed = ((looks.at(-1)?.time ?? 0) - from) / 1000;
  return (
    `${Math.min(...costs).toFixed(1)} ms a frame in the busiest thread, ${Math.round(rate)} frames a second, ` +
    `the longest ${Math.round(Math.max(...gaps))} ms, ${passed.toFixed(1)} of ${seconds} s simulated`
  );
}

/** @param {import('./browser.mjs').Browser} browser */
async function look(browser) {
  const [frames, time] = await browser.evaluate('[frames.length, Number(document.body.dataset.time)]');
  return { frames, time, ran: threads(browser.pids()) };
}

/**
 * Compares each with the next.
 * @template T, R
 * @param {T[]} items
 * @param {(one: T, other: T) => R} compare
 */
function between(items, compare) {
  return items.slice(1).map((item, at) => compare(/** @type {T} */ (items[at]), item));
}

/**
 * Reads how long each thread of some processes and of what they started has run, in milliseconds.
 * @param {number[]} roots
 */
function threads(roots) {
  /** @type {Map<string, number>} */
  const ran = new Map();
  const pids = new Set(roots);
  // A process has a larger number than its parent, unless the numbers have begun anew.
  const all = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  for (const pid of all.map(Number).sort((one, other) => one - other)) {
    const parent = Number(/^PPid:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1]);
    if (pids.has(parent)) pids.add(pid);
    if (!pids.has(pid)) continue;
    for (const thread of list(`/proc/${pid}/task`)) {
      const [nanoseconds] = read(`/proc/${pid}/task/${thread}/schedstat`).split(' ');
      ran.set(thread, Number(nanoseconds) / 1e6);
    }
  }
  return ran;
}

/** @param {string} file */
function read(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // It has ended.
  }
}

/** @param {string} folder */
function list(folder) {
  try {
    return readdirSync(folder);
  } catch {
    return [];
  }
}
