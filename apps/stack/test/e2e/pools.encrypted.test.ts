/** What an encrypted pool shows of a disk: nothing. Who has its key, exported under a passphrase, opens it; nobody else does. */
import { randomBytes } from 'node:crypto';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { newId } from '@openservice/domain';
import { createS3Backend } from '@openservice/pools';
import { expect } from 'chai';
import { fileDigest } from './disk.ts';
import { dedupPool } from './pairs.ts';
import { done, refusal, restoredFile, s3PoolBody, startAction } from './steps.ts';
import { type System, startSystem } from './system.ts';

const MIB = 1024 * 1024;
const PASSPHRASE = 'correct horse battery staple';
const NAME = 'payroll of november';

describe('an encrypted pool', function () {
  this.timeout(120_000);
  let system: System;
  /** Bytes that no compression hides. */
  const secret = randomBytes(64);
  let path: string;

  before(async () => {
    system = await startSystem({ nodes: 1 });
    path = join(system.importRoot(1), 'secret.img');
    const disk = randomBytes(3 * MIB + 4096 + 517);
    for (let at = 5000; at < disk.length; at += 100_000) secret.copy(disk, at);
    await writeFile(path, disk);
  });
  after(async () => system?.stop());

  const never = new AbortController().signal;

  async function importInto(pool: string): Promise<string> {
    const source = { type: 'file', node_id: 'node-1', path };
    const { body } = await system.api.ok('PUT', '/blocks', { name: NAME, pool_id: pool, source });
    await system.api.succeeded(body['job-id']);
    return body['block-id'];
  }

  /** All that a thief of the directory has. */
  async function bytesIn(pool: string): Promise<Buffer> {
    const { body } = await system.api.ok('GET', `/pools/${pool}`);
    const entries = await readdir(body.pool.path, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => readFile(join(entry.parentPath, entry.name)));
    return Buffer.concat(await Promise.all(files));
  }

  async function objectsUnder(prefix: string): Promise<Buffer> {
    const spec = { ...system.servers.s3, id: newId('pool'), type: 's3', s3_scheme: 'other', prefix, https: false } as const;
    const backend = createS3Backend({ ...spec, encryption_key: null });
    const parts: Buffer[] = [];
    for await (const { key } of backend.list('', never)) parts.push(await backend.get(key, null, never));
    await backend.close();
    return Buffer.concat(parts);
  }

  const shown = (bytes: Buffer) => ({ data: bytes.includes(secret), name: bytes.includes(NAME) });

  it('in a directory shows neither the data nor the name of a block; one that is not encrypted shows both', async () => {
    const [sealed, plain] = [await dedupPool(system, 1, { encryption: true }), await dedupPool(system, 1)];
    const id = await importInto(sealed);
    await importInto(plain);
    expect(shown(await bytesIn(plain))).to.deep.equal({ data: true, name: true });
    expect(shown(await bytesIn(sealed))).to.deep.equal({ data: false, name: false });
    expect(await fileDigest(await restoredFile(system, id, sealed))).to.equal(await fileDigest(path));
  });

  it('in S3 shows neither, and takes what comes from another encrypted pool', async () => {
    const from = await dedupPool(system, 1, { encryption: true });
    const id = await importInto(from);
    const body: Record<string, unknown> = { ...s3PoolBody(system), encryption: true };
    const pool = (await system.api.ok('PUT', '/pools', body)).body['pool-id'];
    await system.api.succeeded(await startAction(system, id, 'upload', { pool_id: pool }));
    const objects = await objectsUnder(body.prefix as string);
    expect(objects.length).to.be.greaterThan(3 * MIB);
    expect(shown(objects)).to.deep.equal({ data: false, name: false });
    expect(await fileDigest(await restoredFile(system, id, pool))).to.equal(await fileDigest(path));
  });

  it('is taken over with its exported key alone; what is wrong is refused with the field named', async () => {
    const pool = await dedupPool(system, 1, { encryption: true });
    const id = await importInto(pool);
    const { path: at } = (await system.api.ok('GET', `/pools/${pool}`)).body.pool;
    const exportOf = async (one: string) =>
      (await system.api.ok('POST', `/pools/${one}?action=export_key`, { passphrase: PASSPHRASE })).body.exported as string;
    const exported = await exportOf(pool);
    const ofAnother = await exportOf(await dedupPool(system, 1, { encryption: true }));
    const short = await system.api.post(`/pools/${pool}?action=export_key`, { passphrase: 'short' });
    expect(refusal(short)).to.deep.equal({ status: 422, code: 'invalid_request', fields: ['passphrase'] });
    await system.api.ok('DELETE', `/pools/${pool}?force=true`);
    expect((await system.api.get(`/blocks/${id}`)).body.block?.state ?? 'gone').to.be.oneOf(['error', 'gone']);

    const attempt = (more: Record<string, unknown>) =>
      system.api.put('/pools', { type: 'dedup', name: 'again', node_id: 'node-1', path: at, id: pool, ...more });
    const key = (text: string, passphrase = PASSPHRASE) => ({ key: { exported: text, passphrase } });
    const wrong: [Record<string, unknown>, string, string][] = [
      [key(exported, 'incorrect horse'), 'wrong_passphrase', 'key.passphrase'],
      [key(exported.slice(0, -8)), 'bad_pool_key', 'key.exported'],
      [key(ofAnother), 'wrong_pool_key', 'key'],
      [{}, 'wrong_pool_key', 'key'],
      [{ encryption: true }, 'wrong_pool_key', 'encryption'],
    ];
    for (const [more, code, field] of wrong) {
      expect(refusal(await attempt(more)), JSON.stringify(more)).to.deep.equal({ status: 422, code, fields: [field] });
    }
    const taken = await attempt(key(exported));
    expect([taken.status, taken.body['pool-id']], JSON.stringify(taken.body)).to.deep.equal([201, pool]);
    expect((await done(system, 'pools', pool, 'rebuild')).result?.summary).to.include({ blocks: 1, added: 1 });
    expect((await system.api.ok('GET', `/blocks/${id}`)).body.block.name).to.equal(NAME);
    expect(await fileDigest(await restoredFile(system, id, pool))).to.equal(await fileDigest(path));
  });
});
