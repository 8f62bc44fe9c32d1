/** The key of an encrypted pool, wrapped with a passphrase, to be kept elsewhere: without it the pool dies with the center. */

import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import { exportPoolKey } from '../pool-keys.ts';
import { type Answer, decide, refuseKeptAnswer } from './answers.ts';
import { type Caller, mayActAs } from './caller.ts';
import { findPool } from './lookups.ts';
import { Refusal } from './refusal.ts';

/** For admins. Refusal `pool_not_encrypted`. */
export async function exportKey(deps: AppDeps, id: string, passphrase: string, caller: Caller): Promise<Answer> {
  if (!mayActAs(caller, 'admin')) {
    throw new Refusal('forbidden', `To export a key needs the role admin; the token has the role ${caller.role}.`);
  }
  refuseKeptAnswer();
  const pool = await findPool(deps.database.manager, id);
  if (pool.pool_key_sealed === null) {
    throw new Refusal(
      'pool_not_encrypted',
      `Pool ${id} has no key: it is not encrypted by this center; encryption is chosen when a pool is created.`,
    );
  }
  const exported = await exportPoolKey(deps.secrets.open(pool.pool_key_sealed), passphrase);
  return decide(deps.database, async (manager) => {
    await audit(manager, caller.tokenId, 'pool.export_key', id, { name: pool.name });
    return { status: 200, body: { 'pool-id': id, exported } };
  });
}
