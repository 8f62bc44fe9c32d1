/** The S3 server that the test set-up started; null, with the reason printed, where there is none. */
import { randomBytes } from 'node:crypto';
import {
  CreateBucketCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';
import type { S3PoolSpec } from '@openservice/domain';

export interface TestS3 {
  /** A spec for `prefix` in this run's bucket. */
  spec(prefix: string, change?: Partial<S3PoolSpec>): S3PoolSpec;
  host: string;
  port: number;
  destroy(): Promise<void>;
}

export function hasS3(what: string): boolean {
  if (process.env.OPENSERVICE_TEST_S3_ENDPOINT !== undefined) return true;
  console.log(`  skipped: ${what}: OPENSERVICE_TEST_S3_ENDPOINT is not set (the test set-up found no S3 server)`);
  return false;
}

export async function testS3(): Promise<TestS3> {
  const endpoint = process.env.OPENSERVICE_TEST_S3_ENDPOINT ?? '';
  const access = process.env.OPENSERVICE_TEST_S3_ACCESS_KEY ?? '';
  const secret = process.env.OPENSERVICE_TEST_S3_SECRET_KEY ?? '';
  const region = process.env.OPENSERVICE_TEST_S3_REGION ?? 'us-east-1';
  const bucket = `openservice-test-${randomBytes(6).toString('hex')}`;
  const client = new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId: access, secretAccessKey: secret },
    forcePathStyle: true,
    requestChecksumCalculation: 'WHEN_REQUIRED',
  });
  await client.send(new CreateBucketCommand({ Bucket: bucket }));
  const url = new URL(endpoint);
  return {
    host: url.hostname,
    port: Number(url.port || (url.protocol === 'https:' ? 443 : 80)),
    spec: (prefix, change = {}) => ({
      id: `pool-${prefix}`,
      type: 's3',
      s3_scheme: 'other',
      endpoint,
      region,
      bucket,
      prefix,
      access_key: access,
      secret_key: secret,
      https: url.protocol === 'https:',
      encryption_key: null,
      ...change,
    }),
    destroy: async () => {
      for (;;) {
        const page = await client.send(new ListObjectsV2Command({ Bucket: bucket }));
        const keys = (page.Contents ?? []).map((object) => object.Key ?? '');
        if (keys.length === 0) break;
        await Promise.all(keys.map((Key) => client.send(new DeleteObjectCommand({ Bucket: bucket, Key }))));
      }
      await client.send(new DeleteBucketCommand({ Bucket: bucket }));
      client.destroy();
    },
  };
}
