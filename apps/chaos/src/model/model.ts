/** What one client knows by its history. It says what must hold, never what the stack says it holds. */
import type { Content, Write } from './content.ts';
import type { Answered, Asked, Entry } from './history.ts';

export interface KnownBlock {
  id: string;
  /** The request that made it. */
  origin: Asked;
  content: Content;
  /** Requests that may have taken it away or brought it back, accepted or never answered, in order. */
  fate: Asked[];
}

export interface KnownInstance {
  id: string;
  block: string;
  node: string;
  origin: Asked;
  disk: Content;
  writes: Write[];
  /** An unload was asked for. */
  leaving: boolean;
}

export interface KnownJob {
  id: string;
  origin: Asked;
  state: string;
}

/** What its disk holds now. */
export const instanceContent = ({ disk, writes }: KnownInstance): Content => ({
  disk: disk.disk,
  writes: [...disk.writes, ...writes],
});

const TERMINAL = ['succeeded', 'failed', 'cancelled'];
export const isOver = ({ state }: { state: string }): boolean => TERMINAL.includes(state);
/** Requests after which a block need not be there. */
const FATES = ['delete', 'purge', 'undelete'];

export class Model {
  readonly asked = new Map<string, Asked>();
  readonly answers = new Map<string, Answered>();
  readonly blocks = new Map<string, KnownBlock>();
  readonly instances = new Map<string, KnownInstance>();
  readonly jobs = new Map<string, KnownJob>();
  /** Requests that a center answered with a defect of its own (500). */
  readonly defects: { key: string; why: string }[] = [];

  static of(entries: readonly Entry[]): Model {
    const model = new Model();
    for (const entry of entries) model.apply(entry);
    return model;
  }

  /** Asked and never answered for good. */
  get open(): Asked[] {
    return [...this.asked.values()].filter(({ key }) => !this.answers.has(key));
  }

  get runningJobs(): KnownJob[] {
    return [...this.jobs.values()].filter((job) => !isOver(job));
  }

  /** Requests and jobs on it that have not ended: what its disk holds when they look at it is not known before that. */
  busy(instance: string): boolean {
    const about = (asked: Asked) => asked.about.instance === instance;
    return this.open.some(about) || this.runningJobs.some(({ origin }) => about(origin));
  }

  apply(entry: Entry): void {
    switch (entry.type) {
      case 'asked':
        this.#applyAsked(entry);
        return;
      case 'answered':
        this.#applyAnswered(entry);
        return;
      case 'lost':
        if (entry.why.startsWith('500 ')) this.defects.push({ key: entry.key, why: entry.why });
        return;
      case 'wrote':
        this.instances.get(entry.instance)?.writes.push(entry.write);
        return;
      case 'rewound': {
        const instance = this.instances.get(entry.instance);
        if (instance === undefined) return;
        instance.writes = entry.sure ? [] : instance.writes.map((write) => ({ ...write, sure: false }));
        return;
      }
      case 'saw': {
        const job = this.jobs.get(entry.job);
        if (job !== undefined) job.state = entry.state;
      }
    }
  }

  #applyAsked(asked: Asked): void {
    if (this.asked.has(asked.key)) return;
    this.asked.set(asked.key, asked);
    if (FATES.includes(asked.kind)) this.blocks.get(asked.about.block ?? '')?.fate.push(asked);
  }

  #applyAnswered(answer: Answered): void {
    const asked = this.asked.get(answer.key);
    if (asked === undefined || this.answers.has(answer.key)) return;
    this.answers.set(answer.key, answer);
    if (answer.status >= 300) {
      // Refused: nothing was changed.
      const block = this.blocks.get(asked.about.block ?? '');
      if (block !== undefined) block.fate = block.fate.filter(({ key }) => key !== asked.key);
      return;
    }
    for (const id of answer.jobs) this.jobs.set(id, { id, origin: asked, state: 'queued' });
    const { content } = asked.about;
    const made = [...(answer.block === null ? [] : [answer.block]), ...answer.blocks];
    if (content !== undefined) {
      for (const id of made) {
        if (!this.blocks.has(id)) this.blocks.set(id, { id, origin: asked, content, fate: [] });
      }
    }
    if (asked.kind === 'load' && answer.instance !== null) this.#loaded(answer.instance, asked);
    if (asked.kind === 'unload') {
      const instance = this.instances.get(asked.about.instance ?? '');
      if (instance !== undefined) instance.leaving = true;
    }
  }

  #loaded(id: string, asked: Asked): void {
    const block = this.blocks.get(asked.about.block ?? '');
    if (block === undefined) return;
    const { node = '' } = asked.about;
    this.instances.set(id, { id, block: block.id, node, origin: asked, disk: block.content, writes: [], leaving: false });
  }
}
