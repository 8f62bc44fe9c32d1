import type { Child } from './child.ts';

export type ServerName = 'mysql' | 'redis' | 'nats' | 's3';
export const SERVER_NAMES: readonly ServerName[] = ['mysql', 'redis', 'nats', 's3'];

export interface S3Access {
  endpoint: string;
  region: string;
  access_key: string;
  secret_key: string;
  bucket: string;
}

export interface StartOptions {
  /** Absolute; all state is under it. */
  dir: string;
  /** One line for the person who waits: what is being installed, what stands in for what. */
  log?: (line: string) => void;
  signal?: AbortSignal | undefined;
}

/** A server that answers. One that was given in the environment has no process of ours: its `children` are empty. */
export class Server<Address> {
  readonly name: ServerName;
  readonly address: Address;
  readonly children: readonly Child[];

  constructor(name: ServerName, address: Address, children: readonly Child[] = []) {
    this.name = name;
    this.address = address;
    this.children = children;
  }

  /** Of the process that clients talk to. */
  get pid(): number | undefined {
    return this.children.at(-1)?.pid;
  }

  /** A fault: every process of it gets the signal. */
  kill(signal: NodeJS.Signals = 'SIGKILL'): void {
    for (const child of this.children) child.kill(signal);
  }

  /** Starts what does not run (after `kill`, or a stop), in order; the address and the data stay the same. */
  async start(): Promise<void> {
    for (const child of this.children) await child.start();
  }

  async restart(): Promise<void> {
    await this.stop();
    await this.start();
  }

  async stop(): Promise<void> {
    for (const child of [...this.children].reverse()) await child.stop();
  }
}
