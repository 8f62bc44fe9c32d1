/** Asks a writer which chunks it lacks, many at once: what is asked while an answer is under way goes into the next question. */
import type { BlockWriter } from '@openservice/pools';

interface Question {
  digest: Buffer;
  resolve: (missing: boolean) => void;
  reject: (error: unknown) => void;
}

export class MissingQuery {
  readonly #writer: Pick<BlockWriter, 'missing'>;
  #waiting: Question[] = [];
  #asking = false;

  constructor(writer: Pick<BlockWriter, 'missing'>) {
    this.#writer = writer;
  }

  /** True where the chunk's bytes must be put. */
  ask(digest: Buffer): Promise<boolean> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ digest, resolve, reject });
      if (!this.#asking) void this.#run();
    });
  }

  async #run(): Promise<void> {
    this.#asking = true;
    while (this.#waiting.length > 0) {
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        const answers = await this.#writer.missing(batch.map((question) => question.digest));
        batch.forEach((question, i) => {
          question.resolve(answers[i] ?? true);
        });
      } catch (error) {
        for (const question of batch) question.reject(error);
      }
    }
    this.#asking = false;
  }
}
