// The page in each browser that is installed, from a folder, without a server. Chromium must be.

import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { BROWSERS } from './browsers.mjs';

const PAGE = pathToFileURL(resolve(process.env.PLAYGROUND ?? '../target/playground', 'index.html')).href;

/** What each story comes to at its end: what fails on the left. On the right kvlock holds, always. */
const STORIES = {
  'get-then-set': { overlaps: true },
  'no-owner': { overlaps: true },
  'compare-then-delete': { overlaps: true },
  touch: { overlaps: true },
  fencing: { overlaps: false, stale: true, refused: true },
  restart: { overlaps: true },
  eviction: { overlaps: true },
  'unfenced-resource': { overlaps: false, stale: true, refused: true },
  'two-servers': { overlaps: true },
  handover: {},
  semaphore: {},
  readers: {},
  retry: {},
};

for (const { Kind, isThere } of BROWSERS)
  describe(`in ${Kind.name}`, { skip: isThere ? false : `${Kind.name} is not installed` }, () => suite(Kind));

/** @param {typeof BROWSERS[number]['Kind']} Kind */
function suite(Kind) {
  /** @type {import('./browser.mjs').Browser} */
  let browser;

  before(async () => {
    browser = await Kind.start('light');
    await browser.size(1280, 900);
  });

  after(() => browser?.close());

  /** @param {string} fragment */
  const open = (fragment) => browser.open(PAGE + fragment);

  /** Lets the page run up to a time at once, by dragging the time there.
   * @param {number} time */
  async function goTo(time) {
    await browser.evaluate(`{ const time = document.getElementById('time');
    time.max = '120000'; time.value = '${time}'; time.dispatchEvent(new Event('input')); }`);
    await browser.until(`Number(document.body.dataset.time) === ${time}`);
  }

  /** @param {string} selector */
  const click = (selector) => browser.evaluate(`document.querySelector(${JSON.stringify(selector)}).click()`);

  /** What the worlds on the page count.
   * @returns {Promise<{ overlaps: number, stale: number, refused: number, grants: number }[]>} */
  const counts = () =>
    browser.evaluate(`[...document.querySelectorAll('.world')].map(({ dataset }) => ({
    overlaps: Number(dataset.overlaps), stale: Number(dataset.stale),
    refused: Number(dataset.refused), grants: Number(dataset.grants) }))`);

  test('each story comes out as it is told', async (context) => {
    await open('');
    const listed = await browser.evaluate(
      "[...document.querySelectorAll('#stories button')].map((b) => b.dataset.story)",
    );
    assert.deepEqual(listed, Object.keys(STORIES));
    for (const [id, told] of Object.entries(STORIES)) {
      await context.test(id, async () => {
        await click(`[data-story="${id}"]`);
        await browser.until(`document.querySelector('[data-story="${id}"]').ariaCurrent === 'true'`);
        assert.ok((await browser.evaluate("document.getElementById('question').textContent")).endsWith('?'));
        // To its end, where it stops by itself and gives the answer.
        await goTo(await browser.evaluate("Number(document.getElementById('story').dataset.until) - 30"));
        await click('#play');
        await browser.until("document.getElementById('answer').open");
        assert.ok((await browser.evaluate("document.getElementById('answer-text').textContent.length")) > 60);
        const worlds = await counts();
        const kvlock = worlds.at(-1);
        assert.ok(kvlock && kvlock.grants > 0);
        assert.equal(kvlock.overlaps, 0, 'kvlock has two holders');
        assert.equal(kvlock.stale, 0, 'kvlock lets a late write in');
        if (worlds.length === 1) return;
        const [left] = worlds;
        assert.equal(left && left.overlaps > 0, 'overlaps' in told && told.overlaps);
        if ('stale' in told) assert.ok(left && left.stale > 0, 'no late write is accepted');
        if ('refused' in told) assert.ok(kvlock.refused > 0, 'no late write is refused');
      });
    }
    assert.deepEqual((await browser.observed()).errors, []);
  });

  test('a restart makes everybody wait, and the page says why', async () => {
    await open('#story=restart');
    await goTo(7000);
    const words = await browser.evaluate("document.querySelectorAll('.world')[1].querySelector('.log').textContent");
    assert.match(words, /forgets every lock/);
    const [classic, kvlock] = await counts();
    assert.ok(classic && kvlock && classic.grants > kvlock.grants, 'nobody waits');
    await goTo(13_900);
    assert.ok(((await counts())[1]?.grants ?? 0) > kvlock.grants, 'the quarantine never ends');
  });

  test('each fault can be clicked, is listed, and can be undone', async () => {
    const faults = await browser.evaluate(
      "[...document.querySelectorAll('[data-action]')].map((b) => b.dataset.action)",
    );
    assert.equal(faults.length, 15);
    for (const fault of faults) {
      await open('#story=get-then-set&left=unfenced');
      await goTo(1500);
      await click(`[data-action="${fault}"]`);
      assert.equal(await browser.evaluate("document.querySelectorAll('#deeds li').length"), 1, fault);
      assert.match(await browser.evaluate('location.hash'), new RegExp(`did=1501.${fault}`));
      await goTo(9000);
      await click('#deeds li button');
      assert.equal(await browser.evaluate("document.querySelectorAll('#deeds li').length"), 0, fault);
    }
    assert.deepEqual((await browser.observed()).errors, []);
  });

  test('a run is a function of its link, whichever way one came there', async () => {
    const words = () => browser.evaluate("[...document.querySelectorAll('.log')].map((log) => log.textContent)");
    await open('#story=touch&seed=5');
    await goTo(2000);
    await click('[data-action="freeze"]');
    await goTo(4000);
    await click('[data-action="restart"]');
    await goTo(9000);
    const [live, link] = [await words(), await browser.evaluate('location.hash')];
    // What is done in the past that is shown makes another future, and undoing it the old one.
    await goTo(3000);
    await click('[data-action="flush"]');
    await goTo(9000);
    assert.notDeepEqual(await words(), live);
    await click('#deeds button[aria-label*="Flush"]');
    await goTo(9000);
    assert.deepEqual(await words(), live, 'undone is not as if not done');
    await open(link);
    await goTo(9000);
    assert.deepEqual(await words(), live, 'the link gives another run');
  });

  test('time goes back and forth, in steps and by dragging', async () => {
    await open('#story=touch');
    await goTo(10_000);
    const [late] = await counts();
    await goTo(3000);
    const [early] = await counts();
    assert.ok(late && early && late.grants > early.grants);
    // Dragging the lanes to the right is going back.
    const { x, y } = await browser.evaluate(
      "(({ x, y }) => ({ x, y }))(document.querySelector('canvas').getBoundingClientRect())",
    );
    await browser.mouse('down', x + 200, y + 60);
    await browser.mouse('move', x + 275, y + 60);
    await browser.mouse('up', x + 275, y + 60);
    await browser.until('Number(document.body.dataset.time) < 3000');
    assert.ok((await browser.evaluate('Number(document.body.dataset.time)')) > 500);
    await goTo(3000);
    await click('#step');
    await browser.until('Number(document.body.dataset.time) > 3000');
    await click('#start-over');
    await browser.until("document.body.dataset.time === '0'");
    await click('#play');
    await browser.until('Number(document.body.dataset.time) > 300');
  });

  test('settings change the world', async () => {
    for (const kind of ['lock', 'handover', 'semaphore', 'readers', 'retry']) {
      await open(
        `#story=two-servers&left=none&kind=${kind}&clients=8&lease=4000&wait=3000&quarantine=2000&work=1600&seed=77`,
      );
      await goTo(12_000);
      const [world] = await counts();
      assert.ok(world && world.grants > 2, `${kind}: ${JSON.stringify(world)}`);
      assert.equal(world.overlaps, 0, kind);
    }
    assert.deepEqual((await browser.observed()).errors, []);
  });

  test('kvlock without its protection loses too, and the page says that nothing was promised', async () => {
    for (const run of ['story=restart&quarantine=0', 'story=get-then-set&did=1500.evict']) {
      await open(`#${run}`);
      await goTo(6000);
      const kvlock = (await counts()).at(-1);
      assert.ok(kvlock && kvlock.overlaps > 0, run);
      const excuse = await browser.evaluate("[...document.querySelectorAll('.world .excuse')].at(-1).textContent");
      assert.match(excuse, /^kvlock promises nothing here: /);
    }
  });

  test('one sentence says what is pointed at, by mouse and by keyboard', async () => {
    await open('#story=fencing');
    await goTo(9000);
    const inspector = () => browser.evaluate("document.querySelector('.world .inspector').textContent");
    const hint = await inspector();
    await browser.evaluate("document.querySelector('.world canvas').focus()");
    for (const key of /** @type {const} */ (['ArrowLeft', 'ArrowLeft', 'ArrowUp', 'Home', 'End'])) {
      await browser.key(key);
      assert.match(await inspector(), /^\d+\.\d+ s: .+\.$/);
    }
    assert.notEqual(await inspector(), hint);
    const { x, y, width, height } = await browser.evaluate(
      "(({ x, y, width, height }) => ({ x, y, width, height }))(document.querySelector('canvas').getBoundingClientRect())",
    );
    const told = new Set();
    for (let down = 30; down < height; down += 12) {
      await browser.mouse('move', x + width * 0.6, y + down);
      told.add(await browser.evaluate("document.querySelector('.tip:not([hidden])')?.textContent ?? ''"));
    }
    told.delete('');
    assert.ok(told.size > 3, [...told].join('\n'));
    for (const sentence of told) assert.match(sentence, /\.$/);
  });

  test('the page fits a phone, in the light and in the dark', async () => {
    const fits = async (/** @type {import('./browser.mjs').Browser} */ browser) => {
      await browser.size(390, 844);
      await browser.open(`${PAGE}#story=restart`);
      const [wide, seen] = await browser.evaluate('[document.documentElement.scrollWidth, innerWidth]');
      assert.ok(seen < 600, `${seen} px are no phone`);
      assert.ok(wide <= seen, `${wide} px wide, and ${seen} are there`);
      return browser.evaluate('getComputedStyle(document.body).backgroundColor');
    };
    const light = await fits(browser);
    const other = await Kind.start('dark');
    try {
      assert.notEqual(await fits(other), light);
    } finally {
      await other.close();
    }
  });

  test('the page asks nobody for anything, and shows the digest of its component', async () => {
    await open('');
    const folder = new URL('.', PAGE).href;
    const { requests } = await browser.observed();
    const elsewhere = requests.filter((url) => !/^(about|blob|data):/.test(url) && !url.startsWith(folder));
    assert.deepEqual(elsewhere, []);
    const component = await readFile(new URL('kvlock.wasm', PAGE));
    const digest = createHash('sha256').update(component).digest('hex');
    assert.equal(await browser.evaluate("document.getElementById('digest').textContent"), `SHA-256 ${digest}`);
  });
}
