// WebKit in a window on a display of its own, driven over HTTP by WebDriver.

import { createServer } from 'node:net';
import { Browser, keyActions, mouseActions, PATIENCE, program } from './browser.mjs';

/** What the page remembers for the tests: this protocol has no events. */
const REMEMBER = `globalThis.mistakes = [];
  addEventListener('error', ({ message }) => mistakes.push(message));
  addEventListener('unhandledrejection', ({ reason }) => mistakes.push(String(reason)));`;

export class WebKit extends Browser {
  #root = '';

  /** Returns the program, if it and what shows it are installed. */
  static program() {
    return program('Xvfb') && program('WebKitWebDriver');
  }

  /** @override @param {import('./browser.mjs').Scheme} scheme */
  async begin(scheme) {
    const shown = ['-displayfd', '3', '-screen', '0', '1600x1200x24', '-nolisten', 'tcp'];
    const display = this.spawn('Xvfb', shown, { stdio: ['ignore', 'ignore', 'ignore', 'pipe'] });
    const number = await new Promise((resolve, reject) => {
      display.stdio[3]?.once('data', (/** @type {Buffer} */ data) => resolve(String(data).trim()));
      display.on('exit', () => reject(new Error('Xvfb has ended')));
      display.on('error', reject);
    });
    const theme = scheme === 'dark' ? 'Adwaita:dark' : 'Adwaita';
    const env = { ...process.env, DISPLAY: `:${number}`, GTK_THEME: theme, HOME: this.folder };
    const port = await freePort();
    this.spawn('WebKitWebDriver', [`--port=${port}`], { stdio: 'ignore', env });
    const server = `http://127.0.0.1:${port}`;
    const end = Date.now() + PATIENCE;
    while (!(await fetch(`${server}/status`).catch(() => undefined))) {
      if (Date.now() > end) throw new Error('WebKitWebDriver does not listen');
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    this.#root = `${server}/session`;
    const { sessionId } = await this.#send('POST', '', { capabilities: {} });
    this.#root += `/${sessionId}`;
  }

  /** @override @param {string} expression */
  evaluate(expression) {
    return this.#send('POST', '/execute/sync', { script: 'return (0, eval)(arguments[0])', args: [expression] });
  }

  /** @override @param {string} url */
  async navigate(url) {
    await this.#ask();
    await this.#send('POST', '/url', { url });
    await this.evaluate(REMEMBER);
  }

  /** @override @param {number} width @param {number} height */
  async size(width, height) {
    const around = await this.evaluate('outerHeight - innerHeight');
    return this.#send('POST', '/window/rect', { width, height: height + around });
  }

  /** @override @param {Parameters<typeof keyActions>[0]} name */
  key(name) {
    return this.#send('POST', '/actions', { actions: keyActions(name) });
  }

  /** @override @param {'move' | 'down' | 'up'} act @param {number} x @param {number} y */
  mouse(act, x, y) {
    return this.#send('POST', '/actions', { actions: mouseActions(act, x, y) });
  }

  /** @override */
  async picture() {
    return Buffer.from(await this.#send('GET', '/screenshot'), 'base64');
  }

  /** @override */
  async observed() {
    await this.#ask();
    return super.observed();
  }

  /** @override */
  async close() {
    if (this.#root) await this.#send('DELETE', '').catch(() => {});
    await super.close();
  }

  /** Asks the page what it did. */
  async #ask() {
    const asked =
      "[(globalThis.mistakes ?? []).splice(0), performance.getEntriesByType('resource').map(({ name }) => name)]";
    const [errors, requests] = await this.evaluate(asked);
    this.errors.push(...errors);
    this.requests.push(...requests);
  }

  /**
   * @param {string} method
   * @param {string} path
   * @param {object} [body]
   * @returns {Promise<any>}
   */
  async #send(method, path, body) {
    const signal = AbortSignal.timeout(PATIENCE);
    const response = await fetch(this.#root + path, {
      method,
      signal,
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
    const { value } = /** @type {any} */ (await response.json());
    if (!response.ok) throw new Error(`${path} ${JSON.stringify(body ?? {})}: ${value.message}`);
    return value;
  }
}

/** @returns {Promise<number>} */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = /** @type {import('node:net').AddressInfo} */ (server.address());
      server.close(() => resolve(port));
    });
  });
}
