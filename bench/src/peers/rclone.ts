/** The peer for S3: rclone with its own defaults, told of the server by its environment. */
import type { Lab } from '../lab.ts';
import { timeProgram } from '../lab.ts';
import { type Found, findPeer } from './find.ts';

const REMOTE = 'BENCHPEER';

/** Its path. */
export function findRclone(say: (line: string) => void, signal: AbortSignal): Promise<Found<string>> {
  return findPeer('rclone', 'rclone', say, signal);
}

export class Rclone {
  readonly #program: string;
  readonly #lab: Lab;
  readonly #env: NodeJS.ProcessEnv;

  constructor(program: string, lab: Lab) {
    const { s3 } = lab.stack.stack;
    this.#program = program;
    this.#lab = lab;
    this.#env = {
      RCLONE_CONFIG: '/dev/null',
      // Debian's rclone refuses to start where this is set, and the server is plain HTTP.
      AWS_CA_BUNDLE: undefined,
      [`RCLONE_CONFIG_${REMOTE}_TYPE`]: 's3',
      [`RCLONE_CONFIG_${REMOTE}_PROVIDER`]: 'Ceph',
      [`RCLONE_CONFIG_${REMOTE}_ENDPOINT`]: s3.endpoint,
      [`RCLONE_CONFIG_${REMOTE}_REGION`]: s3.region,
      [`RCLONE_CONFIG_${REMOTE}_ACCESS_KEY_ID`]: s3.access_key,
      [`RCLONE_CONFIG_${REMOTE}_SECRET_ACCESS_KEY`]: s3.secret_key,
    };
  }

  /** Seconds. */
  async upload(path: string, key: string): Promise<number> {
    return this.#run('copyto', path, this.#object(key));
  }

  /** Seconds. */
  async download(key: string, path: string): Promise<number> {
    return this.#run('copyto', this.#object(key), path);
  }

  async remove(key: string): Promise<void> {
    await this.#run('deletefile', this.#object(key));
  }

  #object(key: string): string {
    return `${REMOTE}:${this.#lab.stack.stack.s3.bucket}/${key}`;
  }

  async #run(...args: string[]): Promise<number> {
    return timeProgram(this.#program, args, this.#lab.signal, this.#env);
  }
}
