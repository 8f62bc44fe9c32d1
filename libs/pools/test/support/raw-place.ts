/** A local pool in a directory of its own, for tests of what lies on its disk. */
import { mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { ChunkWorkers } from '@openservice/codec';
import { openPool, type Pool, type WriteSession } from '@openservice/pools';
import { fill, type TestBlock } from '../conformance/content.ts';

const signal = new AbortController().signal;

export class RawPlace {
  readonly path: string;
  readonly pool: Pool;

  constructor(path: string, pool: Pool) {
    this.path = path;
    this.pool = pool;
  }

  static async make(workers: ChunkWorkers, folder = tmpdir()): Promise<RawPlace> {
    const path = await mkdtemp(join(folder, 'openservice-local-'));
    const pool = openPool({ id: 'pool-test', type: 'local', node_id: 'node-1', path }, { workers });
    await pool.probe({ create: true }, signal);
    return new RawPlace(path, pool);
  }

  async destroy(): Promise<void> {
    await this.pool.close();
    await rm(this.path, { recursive: true });
  }

  inBlock(blockId: string, name = '.'): string {
    return join(this.path, 'blocks', blockId, name);
  }

  session(blockId: string, block: TestBlock, attempt = 1, jobId = `job-of-${blockId}`): WriteSession {
    return { blockId, size: block.size, chunkSize: block.chunkSize, jobId, attempt, fence: attempt };
  }

  async store(blockId: string, block: TestBlock, attempt = 1): Promise<void> {
    const writer = await this.pool.openWriter(this.session(blockId, block, attempt), signal);
    await fill(writer, block);
    await writer.prepare(signal);
    await writer.commit(signal);
    await writer.close();
  }

  /** Flips one bit of byte `offset`. */
  async flip(blockId: string, name: string, offset: number): Promise<void> {
    const file = await open(this.inBlock(blockId, name), 'r+');
    const byte = Buffer.alloc(1);
    await file.read(byte, 0, 1, offset);
    byte[0]! ^= 0x10;
    await file.write(byte, 0, 1, offset);
    await file.close();
  }
}
