/**
 * What a session knows of collections: the names it must not come to rely on. Opened after the session was registered in its block's
 * ledger, and looked at again at each checkpoint; once the session knows a round, and all that it relied on before is durable in its
 * records, it says so with an ack, for which the collector waits (docs/format.md, Collection).
 */
import { type Backend, ObjectNotFoundError } from '../../backend.ts';
import { gcHead } from './chain.ts';
import { ackKey, CONDEMNED_PREFIX } from './keys.ts';
import { NameList } from './name-list.ts';

export class CollectionView {
  readonly #backend: Backend;
  readonly #lists = new Map<string, NameList>();
  #number = -1;
  #round = 0;
  /** The round that waits for this session's ack. */
  #awaited: number | null = null;

  private constructor(backend: Backend) {
    this.#backend = backend;
  }

  static async open(backend: Backend, signal: AbortSignal): Promise<CollectionView> {
    const view = new CollectionView(backend);
    await view.refresh(signal);
    return view;
  }

  /** True when a newer round was found: its names are void from now on. */
  async refresh(signal: AbortSignal): Promise<boolean> {
    const head = await gcHead(this.#backend, signal);
    if (head.number === this.#number) return false;
    const before = this.#lists.size;
    if (head.round > this.#round) await this.#load(signal);
    this.#number = head.number;
    this.#round = head.round;
    this.#awaited = head.state === 'condemned' ? head.round : null;
    return this.#lists.size > before;
  }

  isVoid(name: Buffer): boolean {
    for (const list of this.#lists.values()) if (list.has(name)) return true;
    return false;
  }

  /** Call it when all that the session relied on before `refresh` is in durable records. Nothing where nobody waits for it. */
  async ack(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    if (this.#awaited === null) return;
    await this.#backend.put(ackKey(this.#awaited, blockId, fence), Buffer.from('{}\n'), signal);
    this.#awaited = null;
  }

  /** All the lists that are kept, a list that lost its round too: too much is void then, never too little. */
  async #load(signal: AbortSignal): Promise<void> {
    const keys: string[] = [];
    for await (const { key } of this.#backend.list(CONDEMNED_PREFIX, signal)) if (!this.#lists.has(key)) keys.push(key);
    for (const key of keys) {
      try {
        this.#lists.set(key, NameList.decode(await this.#backend.get(key, null, signal), key));
      } catch (error) {
        // One that went meanwhile is of a round long ago.
        if (!(error instanceof ObjectNotFoundError)) throw error;
      }
    }
  }
}
