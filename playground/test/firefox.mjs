// A headless Firefox, driven over a WebSocket by WebDriver BiDi.

import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Browser, Conversation, keyActions, mouseActions, program } from './browser.mjs';

/** What a browser says that listens. */
const LISTENS = /^WebDriver BiDi listening on (ws:.*)$/;

export class Firefox extends Browser {
  /** @type {Conversation | undefined} */
  #conversation;
  #context = '';

  /** Returns the program, if it is installed. */
  static program() {
    return program('firefox-esr', 'firefox');
  }

  /** @override @param {import('./browser.mjs').Scheme} scheme */
  async begin(scheme) {
    const preferences = {
      'layout.css.prefers-color-scheme.content-override': scheme === 'dark' ? 0 : 1,
      // It asks nobody for anything by itself.
      'app.normandy.enabled': false,
      'browser.shell.checkDefaultBrowser': false,
      'datareporting.policy.dataSubmissionEnabled': false,
      'network.captive-portal-service.enabled': false,
      'network.connectivity-service.enabled': false,
      'services.settings.server': 'data:,',
      'toolkit.telemetry.reportingpolicy.firstRun': false,
    };
    const lines = Object.entries(preferences).map(
      ([name, value]) => `user_pref("${name}", ${JSON.stringify(value)});\n`,
    );
    await writeFile(join(this.folder, 'user.js'), lines.join(''));
    const flags = ['--headless', '--no-remote', '--remote-debugging-port=0', '--profile', this.folder];
    const child = this.spawn(Firefox.program() ?? 'firefox', flags, { stdio: ['ignore', 'ignore', 'pipe'] });
    const socket = new WebSocket(`${await address(child)}/session`);
    const conversation = new Conversation(
      (text) => socket.send(text),
      (method, params) => this.#hear(method, params),
    );
    this.#conversation = conversation;
    socket.onmessage = ({ data }) => conversation.receive(data);
    socket.onclose = () => conversation.fail(new Error('firefox has ended'));
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error('firefox does not listen'));
    });
    await this.#send('session.new', { capabilities: {} });
    await this.#send('session.subscribe', { events: ['log.entryAdded', 'network.beforeRequestSent'] });
    const { contexts } = await this.#send('browsingContext.getTree');
    this.#context = contexts[0].context;
  }

  /** @override @param {string} expression */
  async evaluate(expression) {
    const { result, exceptionDetails } = await this.#send('script.evaluate', {
      // As text: what BiDi makes of a value is not JSON.
      expression: `(async () => JSON.stringify(await (0, eval)(${JSON.stringify(expression)})))()`,
      target: { context: this.#context },
      awaitPromise: true,
    });
    if (exceptionDetails) throw new Error(`${expression}: ${exceptionDetails.text}`);
    return result.type === 'string' ? JSON.parse(result.value) : undefined;
  }

  /** @override @param {string} url */
  navigate(url) {
    return this.#send('browsingContext.navigate', { context: this.#context, url, wait: 'complete' });
  }

  /** @override @param {number} width @param {number} height */
  size(width, height) {
    return this.#send('browsingContext.setViewport', { context: this.#context, viewport: { width, height } });
  }

  /** @override @param {Parameters<typeof keyActions>[0]} name */
  key(name) {
    return this.#send('input.performActions', { context: this.#context, actions: keyActions(name) });
  }

  /** @override @param {'move' | 'down' | 'up'} act @param {number} x @param {number} y */
  mouse(act, x, y) {
    return this.#send('input.performActions', { context: this.#context, actions: mouseActions(act, x, y) });
  }

  /** @override */
  async picture() {
    const { data } = await this.#send('browsingContext.captureScreenshot', { context: this.#context });
    return Buffer.from(data, 'base64');
  }

  /**
   * @param {string} method
   * @param {object} params
   * @returns {Promise<any>}
   */
  async #send(method, params = {}) {
    return this.#conversation?.send(method, params);
  }

  /** @param {string} method @param {any} params */
  #hear(method, params) {
    if (method === 'log.entryAdded' && params.level === 'error') this.errors.push(params.text);
    if (method === 'network.beforeRequestSent') this.requests.push(params.request.url);
  }
}

/**
 * Reads where it listens from what it says.
 * @param {import('node:child_process').ChildProcess} child
 * @returns {Promise<string>}
 */
function address(child) {
  return new Promise((resolve, reject) => {
    child.on('exit', () => reject(new Error('firefox has ended')));
    child.on('error', reject);
    const said = /** @type {import('node:stream').Readable} */ (child.stderr);
    createInterface({ input: said }).on('line', (line) => {
      const found = LISTENS.exec(line)?.[1];
      if (found) resolve(found);
    });
  });
}
