/** The root digest of chunks that come a little out of order: what comes early waits (64 chunks of it, and the holes between). */
import { chunkCount } from '@openservice/domain';
import { DIGEST_BYTES, HOLE_DIGEST, type ManifestHead, RootHasher } from '@openservice/pools';

const ZEROS = Buffer.alloc(4096 * DIGEST_BYTES);

interface Early {
  end: number;
  /** null: holes. */
  digest: Buffer | null;
}

export class OrderedRoot {
  readonly #hasher: RootHasher;
  readonly #total: number;
  readonly #early = new Map<number, Early>();
  #next = 0;

  constructor(head: ManifestHead) {
    this.#hasher = new RootHasher(head);
    this.#total = chunkCount(head.size, head.chunkSize);
  }

  /** Every chunk before this one has come. */
  get next(): number {
    return this.#next;
  }

  /** A chunk that has come before is passed over. */
  chunk(index: number, digest: Buffer): void {
    if (index < this.#next) return;
    this.#early.set(index, { end: index + 1, digest: digest.equals(HOLE_DIGEST) ? null : Buffer.from(digest) });
    this.#advance();
  }

  holes(first: number, count: number): void {
    const from = Math.max(first, this.#next);
    if (first + count <= from) return;
    this.#early.set(from, { end: first + count, digest: null });
    this.#advance();
  }

  /** The root, or null while a chunk has not come. Once only. */
  digest(): Buffer | null {
    return this.#next === this.#total ? this.#hasher.digest() : null;
  }

  #advance(): void {
    for (let early = this.#early.get(this.#next); early !== undefined; early = this.#early.get(this.#next)) {
      this.#early.delete(this.#next);
      if (early.digest === null) this.#zeros(early.end - this.#next);
      else this.#hasher.update(early.digest);
      this.#next = early.end;
    }
  }

  #zeros(count: number): void {
    for (let left = count * DIGEST_BYTES; left > 0; left -= ZEROS.length) this.#hasher.update(ZEROS.subarray(0, left));
  }
}
