import { newId, TransientError } from '@openservice/domain';
import { expect } from 'chai';
import { createSecrets } from '../src/secrets.ts';
import { type HttpCenter, httpCenter, type Reply, s3Body } from './support/http-center.ts';

const FINGERPRINT = 'ab'.repeat(32);

describe('http: pools of each type', () => {
  let center: HttpCenter;

  before(async function () {
    this.timeout(30_000);
    const made = await httpCenter();
    if (made === null) return this.skip();
    center = made;
    await center.addNode('n1');
    await center.addNode('n2');
    await center.database.query('UPDATE nodes SET pool_endpoint = ?, pool_fingerprint = ? WHERE id = ?', [
      'https://[fd00::7]:9600',
      FINGERPRINT,
      'n1',
    ]);
    await center.database.query("UPDATE nodes SET pool_endpoint = 'http://node-2.example:9527' WHERE id = 'n2'");
  });
  after(() => center?.stop());

  let made = 0;
  const named = (body: Record<string, unknown>) => ({ ...body, name: `pool ${++made}` });
  const put = (body: Record<string, unknown>, headers = {}) => center.send('PUT', 'pools', named(body), headers);
  const dedup = (path: string, more = {}) => ({ type: 'dedup', node_id: 'n1', path, ...more });
  const far = (more = {}) => ({
    type: 'remote',
    host: 'far.example',
    access_key: 'OSAK1',
    secret_key: 'far-s3cret',
    ...more,
  });
  const probed = () => center.nodes.calls.at(-1)!.request as { spec: Record<string, unknown>; create: boolean };
  const view = async (reply: Reply) => (await center.send('GET', `pools/${reply.body['pool-id']}`)).body.pool;
  const row = async (reply: Reply) =>
    (await center.database.query('SELECT * FROM pools WHERE id = ?', [reply.body['pool-id']]))[0];
  const withAnswer = async (answer: () => unknown, work: () => Promise<void>) => {
    const before = center.nodes.answers.pool_probe;
    center.nodes.answers.pool_probe = answer;
    try {
      await work();
    } finally {
      center.nodes.answers.pool_probe = before;
    }
  };
  const whenRefused = async (code: string, message: string, work: () => Promise<void>) => {
    const before = center.nodes.answers.pool_probe;
    center.nodes.refuse('pool_probe', code, message);
    try {
      await work();
    } finally {
      center.nodes.answers.pool_probe = before;
    }
  };
  /** The problem's status, code and the field it is about; its words must hold each of `words`. */
  const refused = (reply: Reply, ...words: string[]) => {
    for (const word of words) expect(reply.body.detail).to.include(word);
    return [reply.status, reply.body.code, reply.body.errors?.[0]?.path];
  };

  describe('dedup', () => {
    it('is a directory of its node, without a key unless asked for', async () => {
      const reply = await put(dedup('/srv/plain//'));
      expect(reply.status, reply.text).to.equal(201);
      expect(probed()).to.deep.equal({
        spec: { id: reply.body['pool-id'], type: 'dedup', node_id: 'n1', path: '/srv/plain', encryption_key: null },
        create: true,
      });
      expect(await view(reply)).to.deep.include({ type: 'dedup', node_id: 'n1', path: '/srv/plain', encrypted: false });
    });

    it('must not lie in the place of another pool, nor inside or around one', async () => {
      await put({ type: 'local', node_id: 'n1', path: '/srv/disks' });
      for (const path of ['/srv/disks', '/srv/disks/deep/er', '/srv']) {
        const reply = await put(dedup(path));
        expect([reply.status, reply.body.code], path).to.deep.equal([409, 'pool_exists']);
      }
      expect((await put(dedup('/srv/disks-2'))).status).to.equal(201);
      expect((await put(dedup('/srv/disks', { node_id: 'n2' }))).status).to.equal(201);
    });
  });

  describe('encryption', () => {
    it('gives the pool a random key, which nodes get and nobody else', async () => {
      const [one, two] = [
        await put(dedup('/vault/1', { encryption: true })),
        await put(s3Body({ prefix: 'e', encryption: true })),
      ];
      const keys = center.nodes.calls
        .slice(-2)
        .map((call) => (call.request as { spec: { encryption_key: string } }).spec.encryption_key);
      expect(keys[0])
        .to.match(/^[0-9a-f]{64}$/)
        .and.not.equal(keys[1]);
      for (const [reply, key] of [
        [one, keys[0]!],
        [two, keys[1]!],
      ] as const) {
        expect((await view(reply)).encrypted).to.equal(true);
        const stored = await row(reply);
        expect(center.deps.secrets.open(stored.pool_key_sealed)).to.equal(key);
        expect(JSON.stringify(stored)).not.to.include(key);
      }
      const everywhere = JSON.stringify([
        (await center.send('GET', 'pools')).body,
        await center.database.query('SELECT * FROM audit'),
      ]);
      for (const key of keys) expect(everywhere).not.to.include(key);
    });

    it('exports a key for admins alone, and takes it in another center', async () => {
      const reply = await put(dedup('/vault/moved', { encryption: true }));
      const key = probed().spec.encryption_key;
      const path = `pools/${reply.body['pool-id']}?action=export_key`;
      const passphrase = 'correct horse bättery';
      const operator = { Authorization: `Bearer ${await center.tokenFor('operator')}` };
      expect(refused(await center.send('POST', path, { passphrase }, operator))).to.deep.equal([403, 'forbidden', undefined]);
      expect(refused(await center.send('POST', path, { passphrase: 'short' }))).to.deep.equal([
        422,
        'invalid_request',
        'passphrase',
      ]);
      const kept = await center.send('POST', path, { passphrase }, { 'Idempotency-Key': 'k' });
      expect(refused(kept, 'secret')).to.deep.equal([422, 'invalid_request', 'header.Idempotency-Key']);
      const { status, body } = await center.send('POST', path, { passphrase });
      expect(status).to.equal(200);
      expect(body.exported).to.match(/^ospk1\.[A-Za-z0-9_-]{102}$/);

      const other = (await httpCenter())!;
      try {
        await other.addNode('n1');
        const taken = { type: 'dedup', name: 'again', node_id: 'n1', path: '/vault/moved' };
        const wrong = await other.send('PUT', 'pools', { ...taken, key: { exported: body.exported, passphrase: 'another one' } });
        expect(refused(wrong, 'passphrase')).to.deep.equal([422, 'wrong_passphrase', 'key.passphrase']);
        const cut = { exported: body.exported.slice(0, -4), passphrase };
        expect(refused(await other.send('PUT', 'pools', { ...taken, key: cut }))).to.deep.equal([
          422,
          'bad_pool_key',
          'key.exported',
        ]);
        expect(other.nodes.calls).to.deep.equal([]);
        const again = await other.send('PUT', 'pools', { ...taken, key: { exported: body.exported, passphrase } });
        expect(again.status, again.text).to.equal(201);
        expect((other.nodes.calls.at(-1)!.request as { spec: object }).spec).to.include({ encryption_key: key });
      } finally {
        await other.stop();
      }
    });

    it('has nothing to export of a pool that is not encrypted', async () => {
      const reply = await center.send('POST', `pools/${await center.pool('s3')}?action=export_key`, {
        passphrase: 'long enough',
      });
      expect(refused(reply, 'not encrypted')).to.deep.equal([422, 'pool_not_encrypted', undefined]);
    });

    it('names the field when the key is not that of the pool which lies there', async () => {
      await whenRefused('wrong_pool_key', 'The pool in the directory /v is encrypted; give its exported key.', async () => {
        expect(refused(await put(dedup('/v')), 'export_key')).to.deep.equal([422, 'wrong_pool_key', 'key']);
        expect(refused(await put(dedup('/v', { encryption: true })), 'empty place')).to.deep.equal([
          422,
          'wrong_pool_key',
          'encryption',
        ]);
      });
      expect((await put(dedup('/v'))).status, 'nothing was left behind').to.equal(201);
    });

    it('goes on with the key that a node may have used already when it does not answer in time', async () => {
      const body = { ...dedup('/vault/slow', { encryption: true }), name: 'slow' };
      const before = center.nodes.answers.pool_probe;
      center.nodes.away('pool_probe');
      expect((await center.send('PUT', 'pools', body)).status).to.equal(503);
      const first = probed().spec;
      center.nodes.answers.pool_probe = before;
      const other = await center.send('PUT', 'pools', { ...body, name: 'slower' });
      expect(refused(other, 'Another call is creating pool "slow"')).to.deep.equal([409, 'pool_exists', undefined]);
      expect((await center.send('PUT', 'pools', body)).status).to.equal(201);
      expect(probed().spec).to.deep.equal(first);
    });

    it('forgets the key with the pool', async () => {
      const body = dedup('/vault/gone', { encryption: true });
      const reply = await put(body);
      const key = probed().spec.encryption_key;
      await center.send('DELETE', `pools/${reply.body['pool-id']}`);
      const again = await put(body);
      expect(again.body['pool-id']).to.equal(reply.body['pool-id']);
      expect(probed().spec.encryption_key).not.to.equal(key);
      const [audited] = await center.database.query(
        "SELECT detail FROM audit WHERE action = 'pool.delete' ORDER BY id DESC LIMIT 1",
      );
      expect(JSON.stringify(audited)).to.include('encrypted').and.not.include(key);
    });
  });

  describe('remote', () => {
    it('of a node of this center: its tokens and the certificate that the node told of', async () => {
      const reply = await put({ type: 'remote', host: 'FD00::7', port: 9600 });
      expect(reply.status, reply.text).to.equal(201);
      const shown = { host: 'fd00::7', port: 9600, https: true, tls_fingerprint: FINGERPRINT, remote_pool: 'default' };
      expect(probed().spec).to.deep.equal({ id: reply.body['pool-id'], type: 'remote', ...shown, auth: { type: 'center' } });
      expect(await view(reply)).to.deep.include({ ...shown, node_id: 'n1', access_key: null, encrypted: false });
      const plain = await put({ type: 'remote', host: 'node-2.example', remote_pool: 'more', node_id: 'n2' });
      expect(plain.status, plain.text).to.equal(201);
      expect(center.nodes.calls.at(-1)!.nodeId).to.equal('n2');
      expect(probed().spec).to.include({ https: false, tls_fingerprint: null });
      const twice = await put({ type: 'remote', host: 'node-2.example', remote_pool: 'more' });
      expect(refused(twice)).to.deep.equal([409, 'pool_exists', undefined]);
    });

    it('of another center: its access key and secret, which are not shown', async () => {
      const given = FINGERPRINT.toUpperCase().replaceAll(/(..)(?!$)/g, '$1:');
      const reply = await put(far({ tls_fingerprint: given }));
      expect(reply.status, reply.text).to.equal(201);
      expect(probed().spec).to.deep.include({ host: 'far.example', port: 9527, https: true, tls_fingerprint: FINGERPRINT });
      expect(probed().spec.auth).to.deep.equal({ type: 'access_key', access_key: 'OSAK1', secret_key: 'far-s3cret' });
      expect(await view(reply)).to.deep.include({ node_id: null, tls_fingerprint: FINGERPRINT, access_key: '****' });
      expect(JSON.stringify([(await center.send('GET', 'pools')).body, await row(reply)])).not.to.include('far-s3cret');
      expect(refused(await put(far()))).to.deep.equal([409, 'pool_exists', undefined]);
      expect((await put(far({ port: 9528 }))).status).to.equal(201);
      expect(probed().spec.tls_fingerprint, "the system's authorities").to.equal(null);
    });

    const own = { type: 'remote', host: 'fd00::7', port: 9600, remote_pool: 'other' };
    const wrong: [string, () => Record<string, unknown>, string, string][] = [
      ['no key for a stranger', () => ({ type: 'remote', host: 'far.example' }), 'access_key', 'no node of this center'],
      ['a key for a node of this center', () => ({ ...own, access_key: 'a', secret_key: 'b' }), 'access_key', 'no key is needed'],
      ['https against what the node has', () => ({ ...own, https: false }), 'https', 'n1'],
      ['another certificate than the node has', () => ({ ...own, tls_fingerprint: 'cd'.repeat(32) }), 'tls_fingerprint', 'n1'],
      ['an id that is no export', () => ({ ...own, remote_pool: newId('pool') }), 'remote_pool', 'exports'],
    ];
    for (const [what, body, path, word] of wrong) {
      it(`refuses ${what}`, async () => {
        const calls = center.nodes.calls.length;
        expect(refused(await put(body()), word)).to.deep.equal([422, 'invalid_request', path]);
        expect(center.nodes.calls.length).to.equal(calls);
      });
    }

    it('refuses an endpoint that two nodes tell', async () => {
      for (const id of ['n3', 'n4']) {
        await center.addNode(id, 'offline');
        await center.database.query("UPDATE nodes SET pool_endpoint = 'https://127.0.0.1:9527' WHERE id = ?", [id]);
      }
      const reply = await put({ type: 'remote', host: '127.0.0.1' });
      expect(refused(reply, 'n3, n4')).to.deep.equal([422, 'invalid_request', 'host']);
    });

    it('refuses a pool of this very center', async () => {
      const id = await center.pool('local');
      for (const body of [{ ...own, remote_pool: id }, far({ remote_pool: id })]) {
        expect(refused(await put(body), 'use it itself')).to.deep.equal([409, 'pool_exists', 'remote_pool']);
      }
    });

    const answers: [string, string, string, string, string][] = [
      ['a host that does not answer', 'cancelled', 'The work was stopped.', 'pool_unreachable', 'host'],
      ['a server that is none of ours', 'not_a_pool_server', 'It does not answer as one.', 'not_a_pool_server', 'host'],
      ['a server without TLS', 'https_required', 'It cannot be used without HTTPS.', 'https_required', 'https'],
      [
        'an untrusted certificate',
        'tls_untrusted',
        'No authority vouches for it.',
        'remote_certificate_refused',
        'tls_fingerprint',
      ],
      ['a key of another pool', 'forbidden', 'The token does not allow it.', 'remote_access_denied', 'access_key'],
      [
        'a wrong certificate',
        'tls_fingerprint_mismatch',
        'The certificate of far.example is another.',
        'remote_certificate_refused',
        'tls_fingerprint',
      ],
      ['a wrong key', 'unauthorized', 'The access key is not known.', 'remote_access_denied', 'access_key'],
      ['an unknown pool', 'pool_not_found', 'There is no pool default.', 'remote_pool_not_found', 'remote_pool'],
    ];
    for (const [what, code, message, expected, path] of answers) {
      it(`tells of ${what} as such`, async () => {
        await whenRefused(code, message, async () => {
          expect(refused(await put(far({ port: 9999 })), message)).to.deep.equal([422, expected, path]);
        });
      });
    }

    it('tells of a host that refuses connections, which the node calls transient', async () => {
      const unreachable = () => {
        throw new TransientError('unreachable', 'connect ECONNREFUSED far.example:9999.');
      };
      await withAnswer(unreachable, async () => {
        expect(refused(await put(far({ port: 9999 })), 'ECONNREFUSED')).to.deep.equal([422, 'pool_unreachable', 'host']);
        const s3 = await put(s3Body({ prefix: 'unreachable' }));
        expect(refused(s3, 'ECONNREFUSED')).to.deep.equal([422, 'pool_unreachable', 'endpoint']);
      });
      expect((await put(far({ port: 9999 }))).status).to.equal(201);
    });
  });

  describe('a pool of a center that is lost', () => {
    it('is taken over under its id, which the refusal tells', async () => {
      const id = newId('pool');
      await whenRefused('pool_path_in_use', `/lost belongs to pool ${id}; choose an empty directory.`, async () => {
        const reply = await put(dedup('/lost'));
        expect(refused(reply, `"id": "${id}"`, 'action=rebuild')).to.deep.equal([422, 'pool_path_in_use', 'id']);
        expect(reply.body.pool_id).to.equal(id);
      });
      const reply = await put(dedup('/lost', { id }));
      expect(reply.body, reply.text).to.deep.equal({ 'pool-id': id });
      expect(probed(), 'nothing is made there').to.deep.include({ create: false });
      expect(probed().spec.id).to.equal(id);
      const again = await put(dedup('/elsewhere', { id }));
      expect(refused(again, 'use it')).to.deep.equal([409, 'pool_exists', 'id']);
    });

    it('must be there', async () => {
      await whenRefused('pool_not_initialised', '/empty holds no pool.', async () => {
        const reply = await put(dedup('/empty', { id: newId('pool') }));
        expect(refused(reply, 'leave id out')).to.deep.equal([422, 'pool_not_initialised', 'id']);
      });
    });

    it('is none when the place is of a pool of this center', async () => {
      const id = await center.pool('s3');
      await whenRefused('pool_path_in_use', `The bucket belongs to pool ${id}, not to pool-x.`, async () => {
        const reply = await put(s3Body({ endpoint: 'http://alias.example', prefix: 'alias' }));
        expect(refused(reply, 'of this center; use it')).to.deep.equal([422, 'pool_path_in_use', 'endpoint']);
      });
    });
  });

  it('cannot be opened with the secrets of a center that has another master key', async () => {
    const stored = await row(await put(dedup('/vault/foreign', { encryption: true })));
    expect(() => createSecrets(new Uint8Array(32)).open(stored.pool_key_sealed)).to.throw('master key');
  });
});
