/** The append-only file of one client: what it asked, under which key, and what it was answered. The model is made of it alone. */
import { appendFileSync, readFileSync } from 'node:fs';
import type { Content, Write } from './content.ts';

/** What a request is about, as far as the client knows when it asks. */
export interface About {
  block?: string;
  pool?: string;
  from?: string;
  instance?: string;
  job?: string;
  node?: string;
  /** What the new block will hold. */
  content?: Content;
  /** A file that a restore writes. */
  path?: string;
}

export interface Asked {
  type: 'asked';
  /** ms since the run's start. */
  at: number;
  step: number;
  kind: string;
  /** Idempotency-Key. */
  key: string;
  method: string;
  /** Below the base path. */
  path: string;
  body: unknown;
  about: About;
}

export interface Answered {
  type: 'answered';
  at: number;
  key: string;
  status: number;
  /** Of a refusal. */
  code: string | null;
  jobs: string[];
  block: string | null;
  instance: string | null;
  /** Blocks that a save makes. */
  blocks: string[];
}

export type Entry =
  | Asked
  | Answered
  /** No answer, or one that says nothing (5xx): it is asked again with the same key. */
  | { type: 'lost'; at: number; key: string; why: string }
  | { type: 'wrote'; at: number; instance: string; write: Write }
  /** The disk was thrown back to its block; not `sure`: that ended otherwise, and what was written before may be gone or not. */
  | { type: 'rewound'; at: number; instance: string; sure: boolean }
  /** What a client saw of a job. */
  | { type: 'saw'; at: number; job: string; state: string };

export class History {
  readonly file: string;
  readonly #since: number;

  constructor(file: string, since: number) {
    this.file = file;
    this.#since = since;
  }

  get now(): number {
    return Math.round(performance.now() - this.#since);
  }

  append(entry: Entry): void {
    appendFileSync(this.file, `${JSON.stringify(entry)}\n`);
  }
}

export function readHistory(file: string): Entry[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Entry);
}
