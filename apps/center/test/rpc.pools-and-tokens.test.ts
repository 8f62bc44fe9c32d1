/** What nodes ask of a center about pools, over NATS. */
import { createPublicKey, type KeyObject } from 'node:crypto';
import { newId } from '@openservice/domain';
import { type PoolLogin, readPoolToken, signPoolLogin } from '@openservice/protocol';
import { type CenterRequest, callCenter } from '@openservice/runtime';
import { type DataSource, PoolSchema } from '@openservice/store';
import { expect } from 'chai';
import { createSecrets } from '../src/secrets.ts';
import { addPool, type OwnDatabase, ownDatabase } from './support/database.ts';
import { type OwnNats, ownNats } from './support/nats.ts';
import { startCenter, type TestCenter } from './support/plane.ts';
import { StandInNode } from './support/stand-in-node.ts';

/** As startCenter has it. */
const secrets = createSecrets(new Uint8Array(32));
const FINGERPRINT = 'ab'.repeat(32);

describe('rpc: pools, tokens and logins', function () {
  this.timeout(30_000);
  let own: OwnDatabase | null = null;
  let nats: OwnNats | null = null;
  let database: DataSource;
  let center: TestCenter;
  let n1: StandInNode;
  let n2: StandInNode;
  let tokenKey: KeyObject;

  before(async function () {
    own = await ownDatabase();
    nats = own === null ? null : await ownNats();
    if (own === null || nats === null) return this.skip();
    database = own.database;
    center = await startCenter(database, nats.url);
    [n1, n2] = [await StandInNode.connect('n1', nats.url), await StandInNode.connect('n2', nats.url)];
    n1.poolEndpoint = 'https://10.0.0.1:9600';
    n1.poolFingerprint = FINGERPRINT;
    const { pool_token_key } = await n1.sync();
    tokenKey = createPublicKey({ key: Buffer.from(pool_token_key ?? '', 'base64'), format: 'der', type: 'spki' });
    await n2.sync();
  });
  after(async () => {
    await n1?.stop();
    await n2?.stop();
    await center?.stop();
    await nats?.stop();
    await own?.drop();
  });

  const ask = <M extends 'pool' | 'pool_token' | 'pool_login'>(node: StandInNode, method: M, request: CenterRequest<M>) =>
    callCenter(node.nc, node.id, method, request, { timeoutMs: 5000 });
  const specFor = async (node: StandInNode, pool_id: string) => (await ask(node, 'pool', { pool_id })).spec;
  const codeOf = (work: Promise<unknown>): Promise<unknown> =>
    work.then(
      () => 'nothing was refused',
      (error: { code: string; outcome: string }) => [error.code, error.outcome],
    );
  const read = (token: string) => readPoolToken(token, tokenKey, Date.now());

  let names = 0;
  async function add(row: Record<string, unknown>): Promise<string> {
    const id = newId('pool');
    const common = { name: `pool ${++names}`, state: 'available' as const, fencing: 'strict' as const, created_at: new Date() };
    await database.manager.insert(PoolSchema, { id, ...common, ...row });
    return id;
  }

  it('a sync stores where the pool server listens and what its certificate is, and follows changes', async () => {
    const rows = () => database.query('SELECT id, pool_endpoint, pool_fingerprint FROM nodes ORDER BY id');
    expect(await rows()).to.deep.equal([
      { id: 'n1', pool_endpoint: 'https://10.0.0.1:9600', pool_fingerprint: FINGERPRINT },
      { id: 'n2', pool_endpoint: null, pool_fingerprint: null },
    ]);
    n1.poolFingerprint = 'cd'.repeat(32);
    await n1.sync();
    expect((await rows())[0].pool_fingerprint).to.equal('cd'.repeat(32));
    n1.poolFingerprint = FINGERPRINT;
    await n1.sync();
  });

  it('a directory is opened by its node, and by others through its pool server', async () => {
    const local = await addPool(database, 'n1');
    const key = 'ef'.repeat(32);
    const dedup = await add({ type: 'dedup', node_id: 'n1', path: '/vault', pool_key_sealed: secrets.seal(key) });
    expect(await specFor(n1, local)).to.deep.equal({ id: local, type: 'local', node_id: 'n1', path: '/data' });
    expect(await specFor(n1, dedup)).to.deep.include({ type: 'dedup', path: '/vault', encryption_key: key });
    for (const id of [local, dedup]) {
      expect(await specFor(n2, id), 'the key stays with the pool').to.deep.equal({
        id,
        type: 'remote',
        host: '10.0.0.1',
        port: 9600,
        https: true,
        tls_fingerprint: FINGERPRINT,
        remote_pool: id,
        auth: { type: 'center' },
      });
    }
  });

  it('one whose node has told no endpoint can be asked for again later', async () => {
    expect(await codeOf(specFor(n1, await addPool(database, 'n2')))).to.deep.equal(['node_unavailable', 'transient']);
    expect(await codeOf(specFor(n1, await addPool(database, 'gone')))).to.deep.equal(['node_unavailable', 'transient']);
    expect(await codeOf(specFor(n1, 'pool-unknown'))).to.deep.equal(['pool_not_found', 'permanent']);
  });

  it('an s3 pool comes with its secrets, a remote one with its key, or as its node is now', async () => {
    const s3 = await add({
      type: 's3',
      s3_scheme: 'other',
      endpoint: 'http://s3',
      region: 'r',
      bucket: 'b',
      prefix: '',
      https: false,
      access_key: 'AK',
      secret_key_sealed: secrets.seal('SK'),
      pool_key_sealed: secrets.seal('01'.repeat(32)),
    });
    expect(await specFor(n2, s3)).to.deep.include({ type: 's3', secret_key: 'SK', encryption_key: '01'.repeat(32) });
    const far = { type: 'remote', host: 'far', port: 9527, https: true, remote_pool: 'default' };
    const other = await add({ ...far, access_key: 'OSAK', secret_key_sealed: secrets.seal('far-secret') });
    expect(await specFor(n2, other)).to.deep.equal({
      ...far,
      id: other,
      tls_fingerprint: null,
      auth: { type: 'access_key', access_key: 'OSAK', secret_key: 'far-secret' },
    });
    const moved = await add({ ...far, host: '10.9.9.9', node_id: 'n1', tls_fingerprint: '00'.repeat(32) });
    expect(await specFor(n2, moved)).to.deep.include({ host: '10.0.0.1', port: 9600, tls_fingerprint: FINGERPRINT });
    expect(await specFor(n1, moved)).to.deep.include({ host: '10.0.0.1', remote_pool: 'default', auth: { type: 'center' } });
  });

  it('a token names pool, block and right, and is signed with the key that syncs tell', async () => {
    const pool = await addPool(database, 'n1');
    const { token, expires_in_ms } = await ask(n2, 'pool_token', { pool_id: pool, block_id: 'block-1', right: 'write' });
    expect(expires_in_ms).to.equal(600_000);
    expect(read(token)).to.deep.include({ pool, block: 'block-1', right: 'write' });
    const exported = await add({ type: 'remote', host: 'h', port: 1, remote_pool: 'default', node_id: 'n1' });
    const whole = await ask(n2, 'pool_token', { pool_id: exported, block_id: null, right: 'manage' });
    expect(read(whole.token)).to.deep.include({ pool: 'n1/default', block: null, right: 'manage' });
  });

  it('there is no token for what none opens, nor for a node that nobody knows', async () => {
    const strange = await add({ type: 'remote', host: 'h', port: 1, remote_pool: 'x', access_key: 'A', secret_key_sealed: 'B' });
    const s3 = await add({ type: 's3', s3_scheme: 'aws', bucket: 'b' });
    const request = (pool_id: string) => ({ pool_id, block_id: null, right: 'read' as const });
    for (const id of [strange, s3])
      expect(await codeOf(ask(n1, 'pool_token', request(id)))).to.deep.equal(['pool_unusable', 'permanent']);
    expect(await codeOf(ask(n1, 'pool_token', request('pool-unknown')))).to.deep.equal(['pool_not_found', 'permanent']);
    const stranger = await StandInNode.connect('n3', nats!.url);
    try {
      const pool = await addPool(database, 'n1');
      expect(await codeOf(ask(stranger, 'pool_token', request(pool)))).to.deep.equal(['node_unavailable', 'transient']);
    } finally {
      await stranger.stop();
    }
  });

  describe('a login with an access key', () => {
    let pool: string;
    before(async () => {
      pool = await addPool(database, 'n1');
      for (const [name, opened] of [
        ['KEYPOOL', pool],
        ['KEYEXPORT', 'n1/default'],
      ]) {
        await database.query('INSERT INTO access_keys VALUES (?, ?, ?, ?, UTC_TIMESTAMP(3))', [
          name,
          name,
          opened,
          secrets.seal(`secret of ${name}`),
        ]);
      }
    });

    function login(changes: Partial<PoolLogin> = {}, secret?: string): PoolLogin & { signature: string } {
      const plain: PoolLogin = {
        access_key: 'KEYPOOL',
        nonce: 'n'.repeat(16),
        issued_at: new Date().toISOString(),
        pool,
        block_id: 'block-1',
        right: 'write',
        ...changes,
      };
      return { ...plain, signature: signPoolLogin(plain, secret ?? `secret of ${plain.access_key}`) };
    }
    const refused = async (request: PoolLogin & { signature: string }, node = n1) =>
      expect(await codeOf(ask(node, 'pool_login', request))).to.deep.equal(['unauthorized', 'permanent']);

    it('gets a token for the pool that the key opens, and the same when it comes again', async () => {
      const request = login();
      for (let i = 0; i < 2; i++) {
        expect(read((await ask(n1, 'pool_login', request)).token)).to.deep.include({ pool, block: 'block-1', right: 'write' });
      }
      for (const name of ['default', 'n1/default']) {
        const reply = await ask(
          n1,
          'pool_login',
          login({ access_key: 'KEYEXPORT', pool: name, block_id: null, right: 'manage' }),
        );
        expect(read(reply.token), name).to.deep.include({ pool: 'n1/default', block: null, right: 'manage' });
      }
    });

    it('is refused with another secret, for another pool, at another node, changed, unknown or at another time', async () => {
      await refused(login({}, 'another secret'));
      await refused(login({ access_key: 'KEYNONE' }));
      await refused(login({ pool: await addPool(database, 'n1') }));
      await refused(login({ access_key: 'KEYEXPORT', pool: 'more' }));
      await refused(login({ access_key: 'KEYEXPORT', pool: 'default' }), n2);
      await refused(login({ access_key: 'KEYEXPORT', pool: 'n1/default' }), n2);
      await refused({ ...login(), right: 'manage' });
      await refused({ ...login(), block_id: 'block-2' });
      for (const ms of [-301_000, 301_000]) await refused(login({ issued_at: new Date(Date.now() + ms).toISOString() }));
      await refused(login({ issued_at: 'now' }));
    });

    it('is refused once the key is deleted', async () => {
      await database.query("DELETE FROM access_keys WHERE access_key = 'KEYPOOL'");
      await refused(login());
    });
  });
});
