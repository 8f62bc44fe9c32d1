/**
 * A client of another center shows a pool server its access key; the server asks here, and hands on the token.
 *
 * Logins are not kept: within the window in which `issued_at` is taken, one that comes again gets a token for the same pool, block and right
 * as the first, and nothing else happens. Whoever could hear a login, inside the server's TLS, could hear its token too. So a memory of nonces,
 * which all centers would have to share, would keep nobody out; the nonce only makes two logins differ.
 */
import { isId, PermanentError } from '@openservice/domain';
import { isPoolLogin } from '@openservice/protocol';
import type { CenterReply, CenterRequest } from '@openservice/runtime';
import { AccessKeySchema } from '@openservice/store';
import type { Plane } from '../plane.ts';
import type { PoolTokens } from '../pool-tokens.ts';
import type { Secrets } from '../secrets.ts';
import { exportedAs } from './pool-token.ts';

const WINDOW_MS = 5 * 60_000;

/** `node`: whose pool server asks. PermanentError `unauthorized`, the same for a key that is not there and a wrong signature. */
export async function poolLogin(
  { database }: Pick<Plane, 'database'>,
  secrets: Pick<Secrets, 'open'>,
  tokens: PoolTokens,
  login: CenterRequest<'pool_login'>,
  node: string,
): Promise<CenterReply<'pool_login'>> {
  const key = await database.manager.findOneBy(AccessKeySchema, { access_key: login.access_key });
  if (key === null || !isPoolLogin(login, secrets.open(key.secret_key_sealed))) {
    throw unauthorized(
      'The access key is not known here, or the secret key is not its own; see GET /access_keys of that center.',
    );
  }
  const off = Math.abs(Date.now() - Date.parse(login.issued_at));
  if (!(off <= WINDOW_MS))
    throw unauthorized('The login was made too long ago, or in the future; check the clocks of both centers.');
  const resource = isId('pool', login.pool) || login.pool.includes('/') ? login.pool : exportedAs(node, login.pool);
  if (resource !== key.pool || (resource.includes('/') && !resource.startsWith(exportedAs(node, ''))))
    throw unauthorized(`The access key "${key.name}" opens another pool than ${login.pool} of node ${node}.`);
  return tokens.sign({ pool: resource, block: login.block_id, right: login.right });
}

function unauthorized(why: string): PermanentError {
  return new PermanentError('unauthorized', why);
}
