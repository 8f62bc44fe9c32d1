/** Names of packs and segments, as a round of collection publishes them: 32 bytes each, ascending (docs/format.md, Collection). */
import { PermanentError } from '@openservice/domain';
import { checked, withCrc } from '../checked.ts';
import { HASH_BYTES } from '../segment.ts';

const MAGIC = Buffer.from('OSCONDM1', 'latin1');
const HEAD_BYTES = 16;

export class NameList {
  readonly #names: Buffer;

  /** `names`: ascending, 32 bytes each, one after the other. */
  constructor(names: Buffer) {
    this.#names = names;
  }

  get count(): number {
    return this.#names.length / HASH_BYTES;
  }

  at(index: number): Buffer {
    return this.#names.subarray(index * HASH_BYTES, (index + 1) * HASH_BYTES);
  }

  has(name: Buffer): boolean {
    let [low, high] = [0, this.count];
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = this.at(middle).compare(name);
      if (order === 0) return true;
      if (order < 0) low = middle + 1;
      else high = middle;
    }
    return false;
  }

  encode(): Buffer {
    const head = Buffer.alloc(HEAD_BYTES);
    MAGIC.copy(head);
    head.writeUInt32LE(this.count, 8);
    return withCrc(Buffer.concat([head, this.#names]));
  }

  /** PermanentError `damaged_collection`. */
  static decode(bytes: Buffer, key: string): NameList {
    const body = checked(bytes, MAGIC, 'damaged_collection', `list ${key}`);
    if (body.length < HEAD_BYTES || body.length !== HEAD_BYTES + body.readUInt32LE(8) * HASH_BYTES)
      throw new PermanentError('damaged_collection', `The list ${key} is damaged: its length is wrong.`);
    return new NameList(body.subarray(HEAD_BYTES));
  }
}
