/**
 * What a session knows of collections: the names it must not come to rely on. Opened after the session was registered in its block's
 * ledger, and looked at again at each checkpoint; once the session knows a round, and all that it relied on before is durable in its
 * records, it says so with an ack, for which the collector waits (docs/format.md, Collection).
 */
import { PermanentError } from '@openservice/domain';
import { type Backend, ObjectNotFoundError } from '../../backend.ts';
import { isDamaged } from '../checked.ts';
import { type GcHead, gcHead } from './chain.ts';
import { ackKey, DELETING_PREFIX } from './keys.ts';
import { NameList } from './name-list.ts';
import { NameSet } from './name-set.ts';

/** A round that ends each time its list is asked for is looked at this often. */
const MOST_LOOKS = 100;

export class CollectionView {
  readonly #backend: Backend;
  readonly #blind: boolean;
  /** What was deleted lately, or is being deleted. */
  readonly #deleted = new NameSet();
  readonly #deletedLists = new Set<string>();
  /** What a round that is under way may delete; null: its list is damaged, so it may be anything. */
  #condemned: NameSet | null = new NameSet();
  #number = -1;
  /** The round that waits for this session's ack. */
  #awaited: number | null = null;

  private constructor(backend: Backend, blind: boolean) {
    this.#backend = backend;
    this.#blind = blind;
  }

  /** `blind`: for tests, to see that a session which does not avoid what is condemned is noticed. */
  static async open(backend: Backend, signal: AbortSignal, blind = false): Promise<CollectionView> {
    const view = new CollectionView(backend, blind);
    await view.refresh(signal);
    return view;
  }

  /** Looks whether a round began or ended: what it condemned is void from now on, what it let live no longer. */
  async refresh(signal: AbortSignal): Promise<void> {
    for (let looks = 0; looks < MOST_LOOKS; looks++) {
      const head = await gcHead(this.#backend, signal);
      if (head.number === this.#number) return;
      if (await this.#take(head, signal)) return;
    }
    throw new PermanentError('damaged_collection', "The pool's collection (gc/) names a list that is not there.");
  }

  isVoid(name: Buffer): boolean {
    return !this.#blind && (this.#condemned === null || this.#condemned.has(name) || this.#deleted.has(name));
  }

  /** Call it when all that the session relied on before `refresh` is in durable records. Nothing where nobody waits for it. */
  async ack(blockId: string, fence: number, signal: AbortSignal): Promise<void> {
    if (this.#awaited === null) return;
    await this.#backend.put(ackKey(this.#awaited, blockId, fence), Buffer.from('{}\n'), signal);
    this.#awaited = null;
  }

  /** False where the round ended meanwhile, so that its list may be gone. */
  async #take(head: GcHead, signal: AbortSignal): Promise<boolean> {
    let condemned: NameSet | null = new NameSet();
    if (head.state !== 'idle') {
      const list = await this.#list(head.list, signal);
      if (list === 'gone') return false;
      if (list === 'damaged') condemned = null;
      else condemned.add(list);
    }
    await this.#loadDeleted(signal);
    this.#condemned = condemned;
    this.#number = head.number;
    this.#awaited = head.state === 'condemned' ? head.round : null;
    return true;
  }

  /** All the lists that are kept, one whose collector lost its round too: too much is void then, never too little. */
  async #loadDeleted(signal: AbortSignal): Promise<void> {
    const keys: string[] = [];
    for await (const { key } of this.#backend.list(DELETING_PREFIX, signal)) if (!this.#deletedLists.has(key)) keys.push(key);
    for (const key of keys) {
      // One that went meanwhile is of a round long ago; and so is a damaged one, or else it is the head's.
      const list = await this.#list(key, signal);
      if (list instanceof NameList) this.#deleted.add(list);
      this.#deletedLists.add(key);
    }
  }

  async #list(key: string, signal: AbortSignal): Promise<NameList | 'gone' | 'damaged'> {
    try {
      return NameList.decode(await this.#backend.get(key, null, signal), key);
    } catch (error) {
      if (error instanceof ObjectNotFoundError) return 'gone';
      if (isDamaged(error)) return 'damaged';
      throw error;
    }
  }
}
