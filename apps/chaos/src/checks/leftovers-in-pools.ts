import type { PoolEvidence } from '../evidence/pools.ts';
import { type Check, isTerminal } from './check.ts';

/** docs/format.md, Names: what may lie in a pool of packs after a collection that had nobody to wait for. */
const SHARED =
  /^(pool\.json|reserve|\.ballast|\.TMP\/|(packs|segments)\/[0-9a-f]{2}\/[0-9a-f]{64}|index\/[^/]+|(gc|condemned|deleting|damaged|repairs)\/.+)$/;

export const leftoversInPools: Check = {
  name: 'leftovers-in-pools',
  promise: 'After collection no attempt, part file, session or upload is left in any pool.',
  find({ rows, pools, openUploads, freedLast }) {
    const ended = new Set(rows.jobs.filter(({ state }) => isTerminal(state)).map(({ id }) => id));
    const found = pools.flatMap((evidence) => {
      const { pool, names, ledgers } = evidence;
      const open = [...ledgers]
        .filter(([, { state, jobId }]) => state === 'open' && ended.has(jobId))
        .map(([block, { jobId, attempt }]) => ({
          block,
          job: jobId,
          what: `Block ${block} in ${pool.name} is still being written by attempt ${attempt} of job ${jobId}, which has ended.`,
        }));
      const stray = names
        .filter((name) => !isAllowed(name, evidence))
        .map((name) => ({ block: blockIn(name), what: `${name} is left in ${pool.name}.` }));
      return [...open, ...stray];
    });
    const uploads = openUploads.map((key) => ({ what: `An upload in parts of ${key} was never ended.` }));
    const garbage = [...freedLast]
      .filter(([, bytes]) => bytes > 0)
      .map(([pool, bytes]) => ({
        what: `A second collection of pool ${pool}, with nothing done in between, still freed ${bytes} bytes.`,
      }));
    return [...found, ...uploads, ...garbage];
  },
};

const blockIn = (name: string): string | undefined => /block-[0-9a-z]+/.exec(name)?.[0];

function isAllowed(name: string, { layout, ledgers }: PoolEvidence): boolean {
  const [, block = '', rest = ''] = /^blocks\/([^/]+)\/(.+)$/.exec(name) ?? [];
  const entry = ledgers.get(block);
  if (block !== '' && /^ledger\/\d{8}$/.test(rest)) return true;
  const kept = entry?.state === 'committed' || entry?.state === 'trashed';
  if (layout === 'raw')
    return block === ''
      ? /^(pool\.json|reserve|\.ballast|\.TMP\/|blocks\/)$/.test(name)
      : kept && /^(disk\.raw|digests)$/.test(rest);
  if (block === '') return SHARED.test(name);
  if (entry === undefined || !kept) return false;
  const manifest =
    typeof entry.detail.manifest === 'string'
      ? entry.detail.manifest
      : `blocks/${block}/${String(entry.fence).padStart(16, '0')}/manifest`;
  return name === manifest;
}
