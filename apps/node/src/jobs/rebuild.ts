/** Tells the center of every block that a pool holds, those in its trash too, so that it can add the rows that it lacks. */
import type { JobHandler } from '@openservice/agent';
import type { PermanentError } from '@openservice/domain';
import type { BlockStat } from '@openservice/pools';
import type { CenterRequest } from '@openservice/runtime';
import { z } from 'zod';
import type { JobDeps } from './deps.ts';
import { notesOf, plainResult } from './results.ts';

const BATCH = 200;
/** Of the conflicts, those that are told one by one. */
const MAX_CONFLICTS = 20;
/** As many notes as a result has room for beside some conflicts. */
const MAX_DAMAGED = 10;

const stateSchema = z.object({
  /** The last block that the center knows of; ids are gone through in their order. */
  last: z.string().default(''),
  blocks: z.number().default(0),
  added: z.number().default(0),
  known: z.number().default(0),
  conflicts: z.number().default(0),
  notes: z.array(z.string()).default([]),
  /** Blocks that nothing but the id is known of. */
  damaged: z.array(z.string()).default([]),
  damaged_blocks: z.number().default(0),
  last_damaged: z.string().default(''),
});
type Found = CenterRequest<'found'>['blocks'][number];

export function rebuildHandler(deps: JobDeps): JobHandler<'rebuild'> {
  return {
    kind: 'rebuild',
    concurrency: 1,
    async run(context) {
      const { params, jobId, attempt, signal } = context;
      const pool = await deps.pools.get(params.pool_id, signal);
      const read = stateSchema.safeParse(context.lastCheckpoint);
      const state = read.success ? read.data : stateSchema.parse({});
      const tell = async (blocks: Found[]): Promise<void> => {
        const reply = await deps.center.found({ job_id: jobId, attempt, pool_id: params.pool_id, blocks }, signal);
        state.last = blocks.at(-1)?.id ?? state.last;
        state.blocks += blocks.length;
        state.added += reply.added;
        state.known += reply.known;
        state.conflicts += reply.conflicts.length;
        state.notes = [...state.notes, ...reply.conflicts].slice(0, MAX_CONFLICTS);
        await context.checkpoint(state);
      };
      let batch: Found[] = [];
      const onDamaged = (blockId: string, { message }: PermanentError): void => {
        if (blockId <= state.last_damaged) return;
        state.last_damaged = blockId;
        state.damaged_blocks += 1;
        if (state.damaged.length < MAX_DAMAGED) state.damaged.push(`Block ${blockId} is damaged, and was left out: ${message}`);
      };
      for await (const stat of pool.list(signal, { trashed: true, onDamaged })) {
        if (stat.blockId <= state.last) continue;
        batch.push(foundOf(stat));
        if (batch.length < BATCH) continue;
        await tell(batch);
        batch = [];
      }
      if (batch.length > 0) await tell(batch);
      const { blocks, added, known, conflicts } = state;
      const more = conflicts > state.notes.length ? [`${conflicts - state.notes.length} more blocks are in conflict.`] : [];
      const lost = state.damaged_blocks - state.damaged.length;
      const left = lost > 0 ? [`${lost} more blocks are damaged; verify the pool to see them.`] : [];
      const notes = [...state.damaged, ...left, ...state.notes, ...more];
      return plainResult({ summary: { blocks, added, known, conflicts }, ...notesOf(notes) });
    },
    async cleanUp() {
      // What the center was told stays told.
    },
  };
}

function foundOf(stat: BlockStat): Found {
  return {
    id: stat.blockId,
    size: stat.size,
    chunk_size: stat.chunkSize,
    root_digest: stat.rootDigest.toString('hex'),
    stored_bytes: stat.storedBytes,
    trashed: stat.trashed === true,
    meta: stat.meta ?? null,
  };
}
