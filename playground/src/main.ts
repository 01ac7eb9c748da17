// The page: which run it shows, and up to which time.

import { unpack } from './embedded.ts';
import { excuse } from './excuse.ts';
import { begin, format, isUnchanged, LIMITS, parse, type Run } from './link.ts';
import { SETUPS } from './setups.ts';
import type { Instances } from './sim/component.ts';
import type { Deed } from './sim/settings.ts';
import { World } from './sim/world.ts';
import { GROUPS, STORIES, type Story } from './stories.ts';
import { type Hands, makeActions, showClients, showDeeds, showSettings } from './ui/controls.ts';
import { button, find, make, say } from './ui/dom.ts';
import { showLegend } from './ui/legend.ts';
import { Panel } from './ui/panel.ts';
import { readTheme } from './ui/theme.ts';

/** How much of a frame may go to the simulation, in milliseconds. */
const BUDGET = 9;

/** How far the simulation goes between two looks at that, in virtual milliseconds. */
const STRIDE = 20;

/** How many pixels a second has, at least and at most; a story begins between the two in the middle. */
const ZOOM = { least: 15, most: 900, story: [20, 110], step: 1.5 } as const;

class Page {
  readonly #instances: Instances;
  readonly #hands: Hands = { act: (deed) => this.#act(deed), change: (run) => this.#change(run) };
  readonly #client: HTMLSelectElement;
  readonly #scrub = find<HTMLInputElement>('time');
  #run: Run;
  #panels: Panel[] = [];
  #theme = readTheme();
  #isPlaying = false;
  #lastFrame = 0;
  #zoom: number = ZOOM.story[1];

  constructor(instances: Instances) {
    this.#instances = instances;
    this.#run = parse(location.hash);
    this.#client = makeActions(this.#hands);
    this.#client.append(make('option', { value: '0' }, 'Ada'));
    showLegend();
    this.#stories();
    this.#transport();
    this.#keys();
    addEventListener('hashchange', () => {
      if (location.hash !== format(this.#run)) this.#open(parse(location.hash), false);
    });
    matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
      this.#theme = readTheme();
    });
    this.#open(this.#run, location.hash === '');
    requestAnimationFrame((time) => this.#frame(time));
  }

  /** Shows a run from now on. */
  #open(run: Run, plays: boolean): void {
    this.#run = run;
    this.#rebuild();
    this.#fit();
    this.#tellStory();
    this.#play(plays);
  }

  /** Runs everything once more, up to the time that is shown. */
  #rebuild(): void {
    for (const panel of this.#panels) panel.world.close();
    const { left, story, settings, seed, deeds } = this.#run;
    const isComparable = left?.startsWith('kvlock') || settings.kind === 'lock';
    const shown = [...(left && isComparable ? [left] : []), story.right];
    this.#panels = shown.map((id) => {
      const world = new World(SETUPS[id].setup, settings, seed, deeds, this.#instances);
      return new Panel(SETUPS[id], world, {
        choose: (client) => {
          this.#client.value = String(client);
        },
        drag: (pixels) => this.#drag(pixels),
        excuse: (time) => excuse(SETUPS[id].setup, this.#run, time),
      });
    });
    find('worlds').replaceChildren(...this.#panels.map((panel) => panel.element));
    // The next frame shows them.
    delete document.body.dataset.time;
    find('worlds').classList.toggle('alone', this.#panels.length === 1);
    showClients(this.#client, this.#run);
    showSettings(this.#run, this.#hands);
    showDeeds(this.#run, this.#hands);
  }

  #tellStory(): void {
    const { story } = this.#run;
    find('story').dataset.until = String(story.until);
    say(find('question'), story.question);
    say(find('intro'), story.intro);
    say(find('answer-text'), story.answer);
    find<HTMLDetailsElement>('answer').open = false;
    for (const entry of document.querySelectorAll<HTMLElement>('#stories button')) {
      if (entry.dataset.story !== story.id) {
        entry.removeAttribute('aria-current');
        continue;
      }
      entry.setAttribute('aria-current', 'true');
      // On a phone the stories are a row that is longer than the screen.
      find('stories').scrollLeft = entry.offsetLeft - 40;
    }
  }

  /** Something is done now: at the next moment that has not happened yet, or in the past that is shown. */
  #act(action: Omit<Deed, 'time'>): void {
    const time = Math.floor(this.#run.time) + 1;
    const deed = { ...action, time } as Deed;
    this.#run = { ...this.#run, deeds: [...this.#run.deeds, deed] };
    if (this.#panels.every((panel) => panel.world.now() < time)) for (const panel of this.#panels) panel.world.do(deed);
    else this.#rebuild();
    showSettings(this.#run, this.#hands);
    showDeeds(this.#run, this.#hands);
    this.#remember();
  }

  #change(run: Run): void {
    this.#run = { ...run, time: this.#run.time };
    this.#rebuild();
    this.#remember();
  }

  #remember(): void {
    history.replaceState(null, '', format(this.#run));
  }

  #play(plays: boolean): void {
    this.#isPlaying = plays && this.#run.time < LIMITS.time[1];
    say(find('play'), this.#isPlaying ? '❚❚ Pause' : '▶ Run');
    if (!this.#isPlaying) this.#remember();
  }

  #goTo(time: number): void {
    this.#run.time = Math.min(LIMITS.time[1], Math.max(0, time));
  }

  #frame(now: number): void {
    try {
      this.#goOn(now);
    } catch (error) {
      this.#panels = [];
      const text = `The simulation has stopped, which is a fault of the playground (${error}). The link repeats it.`;
      find('worlds').replaceChildren(make('p', { class: 'loading' }, text));
      throw error;
    }
    requestAnimationFrame((time) => this.#frame(time));
  }

  #goOn(now: number): void {
    const passed = Math.min(100, now - this.#lastFrame);
    this.#lastFrame = now;
    const isReady = this.#simulate();
    if (this.#isPlaying && isReady) this.#advance(passed * Number(find<HTMLSelectElement>('speed').value));
    this.#show();
  }

  /** Lets the worlds run up to the time that is shown, as far as a frame allows. */
  #simulate(): boolean {
    const end = performance.now() + BUDGET;
    for (;;) {
      const behind = this.#panels.filter((panel) => panel.world.now() < Math.floor(this.#run.time));
      if (behind.length === 0) return true;
      for (const { world } of behind) world.runTo(Math.min(this.#run.time, world.now() + STRIDE));
      if (performance.now() > end) return false;
    }
  }

  #advance(passed: number): void {
    const { time, story } = this.#run;
    this.#goTo(time + passed);
    if (time < story.until && this.#run.time >= story.until && isUnchanged(this.#run)) {
      this.#goTo(story.until);
      find<HTMLDetailsElement>('answer').open = true;
      this.#play(false);
    }
    if (this.#run.time >= LIMITS.time[1]) this.#play(false);
  }

  #show(): void {
    const time = Math.min(this.#run.time, ...this.#panels.map((panel) => Math.max(panel.world.now(), 0) + 1));
    const view = { time, pixelsPerSecond: this.#zoom, theme: this.#theme, client: Number(this.#client.value) };
    for (const panel of this.#panels) panel.show(view);
    const far = Math.max(this.#run.story.until, this.#run.time, ...this.#panels.map((panel) => panel.world.now()));
    this.#scrub.max = String(Math.ceil(far));
    if (document.activeElement !== this.#scrub || this.#isPlaying) this.#scrub.value = String(this.#run.time);
    say(find('clock'), `${(time / 1000).toFixed(1)} s`);
    document.body.dataset.time = String(Math.floor(time));
  }

  #stories(): void {
    const groups = Object.entries(GROUPS).map(([group, title]) => {
      const stories = STORIES.filter((story) => story.group === group);
      const entries = stories.map((story) =>
        button(story.title, story.question, () => this.#tell(story), { 'data-story': story.id }),
      );
      return make(
        'div',
        { class: 'group', role: 'group', 'aria-label': title },
        make('h2', {}, title),
        make('div', { class: 'chips' }, ...entries),
      );
    });
    find('stories').append(...groups);
  }

  #tell(story: Story): void {
    this.#open(begin(story), true);
  }

  #transport(): void {
    find('play').addEventListener('click', () => this.#play(!this.#isPlaying));
    find('step').addEventListener('click', () => this.#step());
    find('start-over').addEventListener('click', () => {
      this.#goTo(0);
      this.#play(false);
    });
    this.#scrub.addEventListener('input', () => {
      this.#play(false);
      this.#goTo(Number(this.#scrub.value));
    });
    this.#scrub.addEventListener('change', () => this.#remember());
    find('zoom-in').addEventListener('click', () => this.#zoomBy(1));
    find('zoom-out').addEventListener('click', () => this.#zoomBy(-1));
    find('copy').addEventListener('click', () => this.#copy());
  }

  /** Goes on to the next thing that happens, in any of the worlds. */
  #step(): void {
    this.#play(false);
    const { time } = this.#run;
    for (const { world } of this.#panels) world.runTo(time + 1000);
    const times = this.#panels.flatMap(({ world }) => [
      ...world.trace.marks.map((mark) => mark.time),
      ...world.trace.messages.flatMap((message) => [message.left, message.arrives]),
    ]);
    const next = Math.min(...times.filter((other) => other > time), time + 1000);
    this.#goTo(next);
    this.#remember();
  }

  #drag(pixels: number): void {
    this.#play(false);
    this.#goTo(this.#run.time + (pixels / this.#zoom) * 1000);
  }

  /** Shows all of a story at its end, if there is room. */
  #fit(): void {
    const [least, most] = ZOOM.story;
    const room = Math.min(...this.#panels.map((panel) => panel.room()));
    this.#zoom = Math.min(most, Math.max(least, (room / this.#run.story.until) * 1000));
  }

  #zoomBy(by: number): void {
    this.#zoom = Math.min(ZOOM.most, Math.max(ZOOM.least, this.#zoom * ZOOM.step ** by));
  }

  async #copy(): Promise<void> {
    this.#remember();
    try {
      await navigator.clipboard.writeText(location.href);
      say(find('copied'), 'Copied.');
    } catch {
      say(find('copied'), 'The link is in the address bar.');
    }
  }

  #keys(): void {
    addEventListener('keydown', (event) => {
      const target = event.target as HTMLElement;
      if (event.ctrlKey || event.altKey || event.metaKey || target.closest('input, select, summary')) return;
      if (event.key === '.') this.#step();
      else if (event.key === ' ' && !target.closest('button')) this.#play(!this.#isPlaying);
      else if (event.key === '+') this.#zoomBy(1);
      else if (event.key === '-') this.#zoomBy(-1);
      else return;
      event.preventDefault();
    });
  }
}

async function start(): Promise<void> {
  const { digest, instances } = await unpack();
  say(find('digest'), digest === '' ? 'open this page over HTTPS to see its SHA-256' : `SHA-256 ${digest}`);
  document.body.dataset.digest = digest;
  new Page(instances);
  document.body.dataset.ready = 'true';
}

start().catch((error) => {
  const text = 'This browser cannot run the component: it needs WebAssembly and DecompressionStream.';
  find('worlds').replaceChildren(make('p', { class: 'loading' }, `${text} (${error})`));
});
