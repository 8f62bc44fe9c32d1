/**
 * Several statements in one round trip to the server, in their order. The server runs each as it would alone, and stops at the first that fails,
 * with its error. Values go as parameters here as everywhere: a statement's text never holds what somebody sent.
 */
import type { EntityManager } from 'typeorm';

/** What a function needs that only writes; `Together` has it as well as a transaction's manager. */
export type Writer = Pick<EntityManager, 'query'>;

/** Keeps statements until `run`. Who is given it as a `Writer` must not look at what a statement answers: nothing has been asked yet. */
export class Together implements Writer {
  readonly #statements: string[] = [];
  readonly #parameters: unknown[] = [];

  // biome-ignore lint/suspicious/noExplicitAny: as in TypeORM
  async query<T = any>(statement: string, parameters?: unknown): Promise<T> {
    this.#statements.push(statement);
    if (Array.isArray(parameters)) this.#parameters.push(...parameters);
    return undefined as T;
  }

  /** The answer of each statement, in order. The caller's transaction is `manager`'s. */
  async run(manager: EntityManager): Promise<unknown[]> {
    const statements = this.#statements.splice(0);
    const parameters = this.#parameters.splice(0);
    if (statements.length === 0) return [];
    const answers = await manager.query<unknown>(statements.join(';\n'), parameters);
    return statements.length === 1 ? [answers] : (answers as unknown[]);
  }
}
