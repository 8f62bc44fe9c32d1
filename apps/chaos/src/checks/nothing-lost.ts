import type { KnownBlock } from '../model/model.ts';
import type { Check, Evidence } from './check.ts';

/** Kinds whose success makes a block. */
const MAKERS = ['import', 'copy', 'save', 'unload'];

export const nothingLost: Check = {
  name: 'nothing-lost',
  promise: 'A block whose making succeeded, and which nobody asked to be deleted, is available.',
  find(evidence) {
    return evidence.models.flatMap((model) => [...model.blocks.values()].flatMap((block) => lost(block, evidence)));
  },
};

function lost(block: KnownBlock, { rows }: Evidence): { block: string; what: string }[] {
  const maker = rows.jobs.find((job) => job.state === 'succeeded' && MAKERS.includes(job.kind) && makes(job.params, block.id));
  if (maker === undefined) return [];
  const row = rows.blocks.find(({ id }) => id === block.id);
  const say = (what: string) => [{ block: block.id, job: maker.id, what }];
  const is = row === undefined ? 'not known' : row.state;
  if (block.fate.length === 0)
    return is === 'available' ? [] : say(`Block ${block.id} was made by job ${maker.id} and never deleted, and is ${is}.`);
  const allowed = allowedStates(block.id, rows.jobs);
  return allowed.includes(is)
    ? []
    : say(`Block ${block.id} is ${is}; by what was asked of it, it should be ${allowed.join(' or ')}.`);
}

/** By its last delete or undelete that succeeded; later ones that did not may have come half-way. */
function allowedStates(block: string, jobs: Evidence['rows']['jobs']): string[] {
  const fates = jobs
    .filter(
      ({ kind, block_id, params }) => block_id === block && ['delete', 'undelete'].includes(kind) && params.replica_only !== true,
    )
    .sort((a, b) => a.id.localeCompare(b.id));
  const last = fates.findLastIndex(({ state }) => state === 'succeeded');
  const done = fates[last];
  const after =
    done === undefined
      ? 'available'
      : done.kind === 'undelete'
        ? 'available'
        : done.params.trash === true
          ? 'trashed'
          : 'not known';
  const unclear = fates
    .slice(last + 1)
    .flatMap(({ kind, params }) =>
      kind === 'undelete' ? ['available'] : params.trash === true ? ['trashed'] : ['deleting', 'error'],
    );
  return [after, ...(unclear.length > 0 ? ['deleting', 'error', ...unclear] : [])];
}

function makes(params: Record<string, unknown>, block: string): boolean {
  if (params.new_block_id !== undefined) return params.new_block_id === block;
  if (Array.isArray(params.save)) return (params.save as { block_id: string }[]).some(({ block_id }) => block_id === block);
  return params.block_id === block;
}
