// A headless Chromium, driven over a pipe by the DevTools protocol.

import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** How long the browser may take for one answer, in milliseconds: far longer than it needs on a busy machine. */
const PATIENCE = 120_000;

export class Chromium {
  #child;
  #profile;
  #last = 0;
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();
  /** @type {string[]} */
  #pieces = [];
  /** @type {string | undefined} */
  #session;
  /** What the page has said that it should not say: errors, and each address that it asked for. */
  errors = /** @type {string[]} */ ([]);
  requests = /** @type {string[]} */ ([]);

  /** @param {string} profile */
  constructor(profile) {
    this.#profile = profile;
    const flags = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars'];
    const own = [`--user-data-dir=${profile}`, '--remote-debugging-pipe', '--no-first-run', 'about:blank'];
    this.#child = spawn('chromium', [...flags, ...own], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    const incoming = /** @type {import('node:stream').Readable} */ (this.#child.stdio[4]);
    incoming.setEncoding('utf8').on('data', (/** @type {string} */ text) => this.#receive(text));
    this.#child.on('exit', () => this.#fail(new Error('chromium has ended')));
    this.#child.on('error', (error) => this.#fail(error));
  }

  /** Starts a browser with one page. */
  static async start() {
    const browser = new Chromium(await mkdtemp(join(tmpdir(), 'playground-')));
    const { targetId } = await browser.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await browser.send('Target.attachToTarget', { targetId, flatten: true });
    browser.#session = sessionId;
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await browser.send(`${domain}.enable`);
    return browser;
  }

  /**
   * Sends a command of the protocol, and returns its result.
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  send(method, params = {}) {
    const id = ++this.#last;
    const message = { id, method, params, ...(this.#session ? { sessionId: this.#session } : {}) };
    const outgoing = /** @type {import('node:stream').Writable} */ (this.#child.stdio[3]);
    outgoing.write(`${JSON.stringify(message)}\0`);
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`chromium does not answer ${method}`)), PATIENCE);
      const settle = (/** @type {(value: any) => void} */ act) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        act(value);
      };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
    });
  }

  /**
   * Evaluates an expression in the page.
   * @param {string} expression
   * @returns {Promise<any>}
   */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.send('Runtime.evaluate', {
      expression,
      awaitPromise: true,
      returnByValue: true,
    });
    if (exceptionDetails)
      throw new Error(`${expression}: ${exceptionDetails.exception?.description ?? exceptionDetails.text}`);
    return result.value;
  }

  /**
   * Waits until an expression is true in the page.
   * @param {string} expression
   */
  async until(expression) {
    const end = Date.now() + PATIENCE;
    while (!(await this.evaluate(`Boolean(${expression})`))) {
      if (Date.now() > end) throw new Error(`never true: ${expression}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /**
   * Opens an address, and waits until the playground runs.
   * @param {string} url
   */
  async open(url) {
    // By way of an empty page: otherwise another fragment of the same page loads nothing.
    await this.send('Page.navigate', { url: 'about:blank' });
    await this.until("location.href === 'about:blank' && document.readyState === 'complete'");
    await this.send('Page.navigate', { url });
    await this.until("document.body?.dataset.ready === 'true'");
  }

  /**
   * @param {number} width
   * @param {number} height
   * @param {'light' | 'dark'} scheme
   */
  async look(width, height, scheme) {
    const isPhone = width < 600;
    const metrics = { width, height, deviceScaleFactor: isPhone ? 2 : 1, mobile: isPhone };
    await this.send('Emulation.setDeviceMetricsOverride', metrics);
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  /** Returns a picture of the whole page, as PNG. */
  async picture(isWhole = true) {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: isWhole });
    return Buffer.from(data, 'base64');
  }

  async close() {
    const ended = new Promise((resolve) => this.#child.once('exit', resolve));
    this.#child.kill('SIGKILL');
    await ended;
    await rm(this.#profile, { recursive: true, force: true, maxRetries: 5 });
  }

  /** @param {string} text */
  #receive(text) {
    const parts = text.split('\0');
    this.#pieces.push(parts[0] ?? '');
    for (const part of parts.slice(1)) {
      this.#answer(JSON.parse(this.#pieces.join('')));
      this.#pieces = [part];
    }
  }

  /** @param {any} message */
  #answer(message) {
    const waiting = this.#waiting.get(message.id);
    this.#waiting.delete(message.id);
    if (message.error) waiting?.reject(new Error(message.error.message));
    else waiting?.resolve(message.result);
    if (message.method === 'Runtime.exceptionThrown')
      this.errors.push(message.params.exceptionDetails.exception?.description);
    if (message.method === 'Log.entryAdded' && message.params.entry.level === 'error')
      this.errors.push(message.params.entry.text);
    if (message.method === 'Network.requestWillBeSent') this.requests.push(message.params.request.url);
  }

  /** @param {Error} error */
  #fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}
