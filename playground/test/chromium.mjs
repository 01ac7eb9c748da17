// A headless Chromium, driven over a pipe by the DevTools protocol.

import { Browser, Conversation } from './browser.mjs';

const FLAGS = ['--headless', '--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--hide-scrollbars'];

export class Chromium extends Browser {
  /** @type {Conversation | undefined} */
  #conversation;
  #session = {};
  #buttons = 0;

  /** @override @param {import('./browser.mjs').Scheme} scheme */
  async begin(scheme) {
    const own = [`--user-data-dir=${this.folder}`, '--remote-debugging-pipe', '--no-first-run', 'about:blank'];
    const child = this.spawn('chromium', [...FLAGS, ...own], { stdio: ['ignore', 'ignore', 'ignore', 'pipe', 'pipe'] });
    const [, , , outgoing, incoming] = /** @type {any[]} */ (child.stdio);
    const conversation = new Conversation(
      (text) => outgoing.write(`${text}\0`),
      (method, params) => this.#hear(method, params),
    );
    this.#conversation = conversation;
    outgoing.on('error', () => {});
    incoming.setEncoding('utf8').on(
      'data',
      pieces((text) => conversation.receive(text)),
    );
    child.on('exit', () => conversation.fail(new Error('chromium has ended')));
    child.on('error', (error) => conversation.fail(error));
    const { targetId } = await this.send('Target.createTarget', { url: 'about:blank' });
    const { sessionId } = await this.send('Target.attachToTarget', { targetId, flatten: true });
    this.#session = { sessionId };
    for (const domain of ['Page', 'Runtime', 'Network', 'Log']) await this.send(`${domain}.enable`);
    await this.send('Emulation.setEmulatedMedia', { features: [{ name: 'prefers-color-scheme', value: scheme }] });
  }

  /**
   * Sends a command of the protocol, and returns its result.
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  async send(method, params = {}) {
    return this.#conversation?.send(method, params, this.#session);
  }

  /** @override @param {string} expression */
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

  /** @override @param {string} url */
  navigate(url) {
    return this.send('Page.navigate', { url });
  }

  /** @override @param {number} width @param {number} height */
  size(width, height) {
    const isPhone = width < 600;
    const metrics = { width, height, deviceScaleFactor: isPhone ? 2 : 1, mobile: isPhone };
    return this.send('Emulation.setDeviceMetricsOverride', metrics);
  }

  /** @override @param {string} key */
  async key(key) {
    for (const type of ['keyDown', 'keyUp']) await this.send('Input.dispatchKeyEvent', { type, key });
  }

  /** @override @param {'move' | 'down' | 'up'} act @param {number} x @param {number} y */
  mouse(act, x, y) {
    const type = { move: 'mouseMoved', down: 'mousePressed', up: 'mouseReleased' }[act];
    if (act !== 'move') this.#buttons = act === 'down' ? 1 : 0;
    const button = act === 'move' && this.#buttons === 0 ? 'none' : 'left';
    return this.send('Input.dispatchMouseEvent', { type, x, y, button, buttons: this.#buttons });
  }

  /** @override @param {boolean} isWhole shows what is out of sight too */
  async picture(isWhole = false) {
    const { data } = await this.send('Page.captureScreenshot', { format: 'png', captureBeyondViewport: isWhole });
    return Buffer.from(data, 'base64');
  }

  /** @param {string} method @param {any} params */
  #hear(method, params) {
    if (method === 'Runtime.exceptionThrown') this.errors.push(params.exceptionDetails.exception?.description);
    if (method === 'Log.entryAdded' && params.entry.level === 'error') this.errors.push(params.entry.text);
    if (method === 'Network.requestWillBeSent') this.requests.push(params.request.url);
  }
}

/**
 * Puts messages together that a zero ends.
 * @param {(text: string) => void} receive
 */
function pieces(receive) {
  /** @type {string[]} */
  let parts = [];
  return (/** @type {string} */ text) => {
    const [first = '', ...others] = text.split('\0');
    parts.push(first);
    for (const other of others) {
      receive(parts.join(''));
      parts = [other];
    }
  };
}
