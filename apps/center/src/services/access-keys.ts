/** Keys with which other centers use pools of this center's nodes. The secret is told once, and kept sealed to check logins with. */
import { randomBytes, randomInt } from 'node:crypto';
import { isId } from '@openservice/domain';
import { type AccessKey, AccessKeySchema, type EntityManager, isDuplicate } from '@openservice/store';
import type { AppDeps } from '../http/deps.ts';
import { audit } from '../jobs/submit-job.ts';
import type { CreateAccessKey, ListAccessKeys } from '../routes/schemas/access-keys.ts';
import { type Answer, decide, refuseKeptAnswer } from './answers.ts';
import type { Caller } from './caller.ts';
import { findNode, findPool } from './lookups.ts';
import { nodeOfPool } from './placement.ts';
import { invalidRequest, notFound, Refusal } from './refusal.ts';

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
const SECRET_BYTES = 32;

const newAccessKey = (): string => `OSAK${Array.from({ length: 20 }, () => LETTERS[randomInt(LETTERS.length)]).join('')}`;

export async function createAccessKey(deps: AppDeps, body: CreateAccessKey, caller: Caller): Promise<Answer> {
  refuseKeptAnswer();
  const [access_key, secret_key] = [newAccessKey(), randomBytes(SECRET_BYTES).toString('base64url')];
  const { name, pool } = body;
  try {
    return await decide(deps.database, async (manager) => {
      await mustBeServed(manager, pool);
      await manager.insert(AccessKeySchema, {
        access_key,
        name,
        pool,
        secret_key_sealed: deps.secrets.seal(secret_key),
        created_at: new Date(),
      });
      await audit(manager, caller.tokenId, 'access_key.create', access_key, { name, pool });
      return { status: 201, body: { access_key, secret_key } };
    });
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    throw new Refusal('name_taken', `There is an access key named "${name}" already; choose another name.`);
  }
}

/** What a node's pool server can give to others: a directory of its own. */
async function mustBeServed(manager: EntityManager, pool: string): Promise<void> {
  if (!isId('pool', pool)) {
    await findNode(manager, pool.split('/')[0] ?? '');
    return;
  }
  const row = await findPool(manager, pool);
  if (nodeOfPool(row) !== null) return;
  const instead = row.type === 's3' ? 'create an s3 pool at the other center' : 'ask the center that it belongs to for a key';
  throw invalidRequest([
    { path: 'pool', message: `pool ${pool} is of type ${row.type}, which no pool server gives out; ${instead}` },
  ]);
}

export async function listAccessKeys(deps: AppDeps, { limit, marker }: ListAccessKeys): Promise<Answer> {
  const query = deps.database.getRepository(AccessKeySchema).createQueryBuilder('t').orderBy('t.access_key', 'ASC');
  if (marker !== undefined) query.where('t.access_key > :marker', { marker });
  const rows = await query.limit(limit + 1).getMany();
  const more = rows.length > limit;
  if (more) rows.pop();
  return { status: 200, body: { access_keys: rows.map(accessKeyView), next_marker: more ? rows.at(-1)!.access_key : null } };
}

function accessKeyView({ access_key, name, pool, created_at }: AccessKey) {
  return { access_key, name, pool, created_at: created_at.toISOString() };
}

/** Nobody logs in with it any more; tokens that were given out still last for minutes. */
export function deleteAccessKey(deps: AppDeps, accessKey: string, caller: Caller): Promise<Answer> {
  return decide(deps.database, async (manager) => {
    const gone = await manager.delete(AccessKeySchema, { access_key: accessKey });
    if (gone.affected !== 1) throw notFound('access_key', accessKey);
    await audit(manager, caller.tokenId, 'access_key.delete', accessKey, {});
    return { status: 200, body: { access_key: accessKey } };
  });
}
