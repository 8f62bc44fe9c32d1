import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { expect } from 'chai';
import { endLeftovers, hasRadosgw, isAlive, startNats, startRedis, startS3 } from '../src/index.ts';

describe('servers of ours', () => {
  let dir: string;
  beforeEach(() => {
    dir = mkdtempSync(join(tmpdir(), 'openservice-servers-'));
  });
  afterEach(async () => {
    await endLeftovers(dir);
    rmSync(dir, { recursive: true, force: true });
  });

  it('come back at the same address after SIGKILL and a restart', async () => {
    const redis = await startRedis({ dir });
    const before = redis.pid;
    const gone = redis.children[0]?.gone();
    redis.kill('SIGKILL');
    await gone;
    expect(redis.pid).equal(undefined);
    await redis.start();
    expect(redis.pid).not.equal(before);
    await redis.stop();
    const second = await startRedis({ dir });
    expect(second.address).deep.equal(redis.address);
    await second.stop();
  });

  it('that were left running are ended by the next start', async () => {
    const nats = await startNats({ dir });
    const pid = nats.pid;
    expect(pid).a('number');
    expect(await endLeftovers(dir)).deep.equal([pid]);
    expect(isAlive(pid ?? 0)).equal(false);
    await nats.stop();
  });

  (hasRadosgw() ? it : it.skip)('keep the objects of S3 over SIGKILL (needs radosgw)', async function () {
    this.timeout(120_000);
    const first = await startS3({ dir, mode: 'persistent' });
    const { endpoint, region, access_key, secret_key, bucket } = first.address;
    const credentials = { accessKeyId: access_key, secretAccessKey: secret_key };
    const client = new S3Client({ endpoint, region, credentials, forcePathStyle: true });
    await client.send(new CreateBucketCommand({ Bucket: 'other' }));
    await client.send(new PutObjectCommand({ Bucket: bucket, Key: 'kept', Body: 'words' }));
    first.kill('SIGKILL');
    await first.stop();
    const second = await startS3({ dir, mode: 'persistent' });
    expect(second.address).deep.equal(first.address);
    const got = await client.send(new GetObjectCommand({ Bucket: bucket, Key: 'kept' }));
    expect(await got.Body?.transformToString()).equal('words');
    client.destroy();
    await second.stop();
  });
});
