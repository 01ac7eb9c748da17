// What the tests ask of a browser, whichever it is.

import { spawn } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

/** @typedef {'light' | 'dark'} Scheme */

/** How long a browser may take for one answer, in milliseconds: far longer than it needs on a busy machine. */
export const PATIENCE = 120_000;

/** A browser with one page. The subclasses say how it is started and spoken to. */
export class Browser {
  /** @type {import('node:child_process').ChildProcess[]} */
  #children = [];
  /** @protected */
  errors = /** @type {string[]} */ ([]);
  /** @protected */
  requests = /** @type {string[]} */ ([]);

  /** @param {string} folder its own, for a profile */
  constructor(folder) {
    this.folder = folder;
  }

  /**
   * Starts the browser, with one page.
   * @param {Scheme} scheme
   */
  static async start(scheme) {
    const browser = new this(await mkdtemp(join(tmpdir(), 'playground-')));
    try {
      await browser.begin(scheme);
    } catch (error) {
      await browser.close();
      throw error;
    }
    return browser;
  }

  /**
   * Starts the programs, and makes the page.
   * @param {Scheme} _scheme
   * @returns {Promise<void>}
   */
  begin(_scheme) {
    throw new Error('a subclass begins');
  }

  /**
   * Evaluates an expression in the page, and returns its value.
   * @param {string} _expression
   * @returns {Promise<any>}
   */
  evaluate(_expression) {
    throw new Error('a subclass evaluates');
  }

  /**
   * Sends the page to an address.
   * @param {string} _url
   * @returns {Promise<unknown>}
   */
  navigate(_url) {
    throw new Error('a subclass navigates');
  }

  /**
   * Makes the page so wide and so high, or as narrow as the browser allows.
   * @param {number} _width
   * @param {number} _height
   * @returns {Promise<unknown>}
   */
  size(_width, _height) {
    throw new Error('a subclass has a size');
  }

  /**
   * Presses a key, and releases it.
   * @param {keyof typeof KEYS} _name
   * @returns {Promise<unknown>}
   */
  key(_name) {
    throw new Error('a subclass has keys');
  }

  /**
   * Moves the mouse, and then presses or releases its button.
   * @param {'move' | 'down' | 'up'} _act
   * @param {number} _x
   * @param {number} _y
   * @returns {Promise<unknown>}
   */
  mouse(_act, _x, _y) {
    throw new Error('a subclass has a mouse');
  }

  /**
   * Takes a picture of what is in sight, as PNG.
   * @returns {Promise<Buffer>}
   */
  picture() {
    throw new Error('a subclass takes pictures');
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
    await this.navigate('about:blank');
    await this.until("location.href === 'about:blank' && document.readyState === 'complete'");
    await this.navigate(url);
    await this.until("document.body?.dataset.ready === 'true'");
  }

  /** Returns what the page has said that it should not say, and each address that it asked for. */
  async observed() {
    return { errors: this.errors, requests: this.requests };
  }

  /** Returns the programs that were started. */
  pids() {
    return this.#children.flatMap(({ pid }) => pid ?? []);
  }

  /** Ends the browser. */
  async close() {
    for (const child of this.#children.reverse()) {
      if (child.exitCode !== null || child.signalCode !== null || !child.pid) continue;
      const ended = new Promise((resolve) => child.once('exit', resolve));
      child.kill('SIGKILL');
      await ended;
    }
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }

  /**
   * Starts a program, which ends with the browser.
   * @param {string} program
   * @param {string[]} flags
   * @param {import('node:child_process').SpawnOptions} options
   */
  spawn(program, flags, options) {
    const child = spawn(program, flags, options);
    child.on('error', () => {});
    this.#children.push(child);
    return child;
  }
}

/** Requests and answers of a protocol in JSON, told apart by number: that of Chromium, and WebDriver BiDi. */
export class Conversation {
  #last = 0;
  /** @type {Map<number, { resolve: (result: any) => void, reject: (error: Error) => void }>} */
  #waiting = new Map();
  #write;
  #hear;

  /**
   * @param {(text: string) => void} write
   * @param {(method: string, params: any) => void} hear is told of events
   */
  constructor(write, hear) {
    this.#write = write;
    this.#hear = hear;
  }

  /**
   * Sends a command, and returns its result.
   * @param {string} method
   * @param {object} params
   * @param {object} more
   * @returns {Promise<any>}
   */
  send(method, params = {}, more = {}) {
    const id = ++this.#last;
    this.#write(JSON.stringify({ id, method, params, ...more }));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => reject(new Error(`the browser does not answer ${method}`)), PATIENCE);
      const settle = (/** @type {(value: any) => void} */ act) => (/** @type {any} */ value) => {
        clearTimeout(timer);
        act(value);
      };
      this.#waiting.set(id, { resolve: settle(resolve), reject: settle(reject) });
    });
  }

  /** @param {string} text */
  receive(text) {
    const { id, method, params, error, message, result } = JSON.parse(text);
    if (method) this.#hear(method, params);
    const waiting = this.#waiting.get(id);
    this.#waiting.delete(id);
    if (error) waiting?.reject(new Error(message ?? error.message));
    else waiting?.resolve(result);
  }

  /** @param {Error} error */
  fail(error) {
    for (const { reject } of this.#waiting.values()) reject(error);
    this.#waiting.clear();
  }
}

/** The keys that the tests press, as WebDriver has them. */
const KEYS = {
  ArrowLeft: '\uE012',
  ArrowUp: '\uE013',
  Home: '\uE011',
  End: '\uE010',
};

/**
 * Says in the words of WebDriver that a key is pressed and released.
 * @param {keyof typeof KEYS} name
 */
export function keyActions(name) {
  const actions = ['keyDown', 'keyUp'].map((type) => ({ type, value: KEYS[name] }));
  return [{ type: 'key', id: 'keyboard', actions }];
}

/**
 * Says in the words of WebDriver what the mouse does.
 * @param {'move' | 'down' | 'up'} act
 * @param {number} x
 * @param {number} y
 */
export function mouseActions(act, x, y) {
  const move = { type: 'pointerMove', x: Math.round(x), y: Math.round(y), duration: 0 };
  const press = act === 'move' ? [] : [{ type: act === 'down' ? 'pointerDown' : 'pointerUp', button: 0 }];
  return [{ type: 'pointer', id: 'mouse', parameters: { pointerType: 'mouse' }, actions: [move, ...press] }];
}

/**
 * Finds the first of some programs that is installed.
 * @param {string[]} names
 */
export function program(...names) {
  const folders = (process.env.PATH ?? '').split(delimiter);
  return names.find((name) => folders.some((folder) => isProgram(join(folder, name))));
}

/** @param {string} file */
function isProgram(file) {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
