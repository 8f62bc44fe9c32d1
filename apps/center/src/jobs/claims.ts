/**
 * Claims: which job owns a block, a replica, an instance or a pool. They are taken and checked under the locks of the rows they are about,
 * blocks first, then instances, then pools, each in sorted order; they are released with the job's last state, in its transaction.
 */
import { PermanentError } from '@openservice/domain';
import { type EntityManager, Together, type Writer } from '@openservice/store';
import type { ClaimRequest } from '../services/job-request.ts';

type BusyCode = 'block_busy' | 'instance_busy' | 'pool_busy';

/** Another job holds what this one needs; HTTP 409. */
export class ClaimConflictError extends PermanentError {
  readonly jobId: string;
  constructor(code: BusyCode, message: string, jobId: string) {
    super(code, message);
    this.jobId = jobId;
  }
}

interface Holder {
  resource: string;
  job_id: string;
  kind: string;
  state: string;
}

const marks = (items: readonly unknown[]): string => items.map(() => '?').join(', ');

type Parent = 'blocks' | 'cdm_instances' | 'pools';

const BUSY: Readonly<Record<Parent, readonly [BusyCode, string]>> = {
  blocks: ['block_busy', 'Block'],
  cdm_instances: ['instance_busy', 'Instance'],
  pools: ['pool_busy', 'Pool'],
};

function parentOf(resource: string): { table: Parent; id: string } {
  const [kind, rest = ''] = resource.split(':');
  if (kind === 'block') return { table: 'blocks', id: rest };
  if (kind === 'replica') return { table: 'blocks', id: rest.split('/')[0] ?? '' };
  if (kind === 'instance') return { table: 'cdm_instances', id: rest };
  // `pool-gc:` keeps collections of one pool apart from each other, and from nobody else.
  if (kind === 'pool' || kind === 'pool-gc') return { table: 'pools', id: rest };
  throw new PermanentError('internal', `A claim on "${resource}" is of no known kind.`);
}

/** How many statements that are. */
async function lockParents(writer: Writer, claims: readonly ClaimRequest[]): Promise<number> {
  const modes = new Map<string, boolean>();
  for (const claim of claims) {
    const { table, id } = parentOf(claim.resource);
    const key = `${table} ${id}`;
    // Shared pools are locked shared, so that jobs into one pool are accepted beside each other.
    modes.set(key, modes.get(key) === true || table !== 'pools' || claim.mode === 'exclusive');
  }
  for (const [key, exclusive] of [...modes].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const [table, id] = key.split(' ');
    await writer.query(`SELECT id FROM ${table} WHERE id = ? ${exclusive ? 'FOR UPDATE' : 'LOCK IN SHARE MODE'}`, [id]);
  }
  return modes.size;
}

/** Takes all of `claims` for `jobId`, or throws ClaimConflictError that names who holds one of them. */
export async function takeClaims(manager: EntityManager, jobId: string, claims: readonly ClaimRequest[]): Promise<void> {
  if (claims.length === 0) return;
  // Locks, then the look, then the rows, in one round trip; where the look finds somebody, the rows go with the transaction.
  const together = new Together();
  const before = await lockParents(together, claims);
  const wanted = new Map(claims.map((claim) => [claim.resource, claim.mode]));
  const of = (mode: 'shared' | 'exclusive'): string[] =>
    [...wanted].flatMap(([resource, how]) => (how === mode ? [resource] : []));
  const [shared, exclusive] = [of('shared'), of('exclusive')];
  // Only who stands in the way: thousands of jobs may share a pool.
  const inTheWay = [
    ...(shared.length === 0 ? [] : [`(c.mode = 'exclusive' AND c.resource IN (${marks(shared)}))`]),
    ...(exclusive.length === 0 ? [] : [`c.resource IN (${marks(exclusive)})`]),
  ];
  await together.query(
    `SELECT c.resource, c.job_id, j.kind, j.state FROM claims c JOIN jobs j ON j.id = c.job_id
     WHERE ${inTheWay.join(' OR ')} ORDER BY c.resource, c.job_id LIMIT 1`,
    [...shared, ...exclusive],
  );
  await together.query(
    `INSERT INTO claims (resource, job_id, mode) VALUES ${[...wanted].map(() => '(?, ?, ?)').join(', ')}`,
    [...wanted].flatMap(([resource, mode]) => [resource, jobId, mode]),
  );
  const [holder] = (await together.run(manager))[before] as Holder[];
  if (holder !== undefined) {
    const { table, id } = parentOf(holder.resource);
    const [code, what] = BUSY[table];
    throw new ClaimConflictError(
      code,
      `${what} ${id} is in use by job ${holder.job_id} (${holder.kind}, ${holder.state}); wait for it or cancel it.`,
      holder.job_id,
    );
  }
}

export async function releaseClaims(manager: EntityManager, jobId: string): Promise<void> {
  await manager.query('DELETE FROM claims WHERE job_id = ?', [jobId]);
}
