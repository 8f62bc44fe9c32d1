import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { CreateBucketCommand, HeadBucketCommand, S3Client } from '@aws-sdk/client-s3';
import { PermanentError } from '@openservice/domain';
import { Child } from './child.ts';
import { freePort } from './ports.ts';
import { httpAnswers } from './probe.ts';
import { hasRadosgw, startRadosgw } from './radosgw.ts';
import { remember, remembered } from './remembered.ts';
import { type S3Access, Server, type StartOptions } from './server.ts';

const DEFAULT_BUCKET = 'openservice';

/** An S3 server whose bucket is there: the given one, Ceph's gateway, or s3rver where Ceph cannot be had. */
export async function startS3(options: StartOptions & { mode?: 'memory' | 'persistent' }): Promise<Server<S3Access>> {
  const server = givenS3() ?? (await ownS3(options));
  try {
    await makeBucket(server.address);
  } catch (error) {
    await server.stop();
    throw error;
  }
  return server;
}

function givenS3(): Server<S3Access> | undefined {
  const env = process.env;
  const endpoint = env.OPENSERVICE_S3_ENDPOINT;
  if (endpoint === undefined || endpoint === '') return undefined;
  const access_key = env.OPENSERVICE_S3_ACCESS_KEY ?? '';
  const secret_key = env.OPENSERVICE_S3_SECRET_KEY ?? '';
  if (access_key === '' || secret_key === '') {
    throw new PermanentError(
      'invalid_environment',
      'OPENSERVICE_S3_ENDPOINT is set; set OPENSERVICE_S3_ACCESS_KEY and OPENSERVICE_S3_SECRET_KEY too.',
    );
  }
  const region = env.OPENSERVICE_S3_REGION ?? 'us-east-1';
  const bucket = env.OPENSERVICE_S3_BUCKET ?? DEFAULT_BUCKET;
  return new Server('s3', { endpoint, region, access_key, secret_key, bucket });
}

async function ownS3(options: StartOptions & { mode?: 'memory' | 'persistent' }): Promise<Server<S3Access>> {
  const mode = options.mode ?? 'persistent';
  const plain = join(options.dir, 's3rver');
  // What an earlier start stored with s3rver is found again, even if Ceph was installed since.
  if (hasRadosgw() && !existsSync(plain)) {
    const { access, children } = await startRadosgw({ ...options, mode });
    return new Server('s3', { ...access, bucket: DEFAULT_BUCKET }, children);
  }
  options.log?.(
    'S3: Ceph cannot be had here, so s3rver stands in: fit for a demonstration; it has no conditional PUT and checks no signatures.',
  );
  mkdirSync(plain, { recursive: true, mode: 0o700 });
  const facts = join(options.dir, 'run', 's3rver.json');
  const port = await freePort(remembered<{ port: number }>(facts).port);
  remember(facts, { port });
  const endpoint = `http://127.0.0.1:${port}`;
  const child = new Child({
    name: 's3',
    dir: options.dir,
    command: process.execPath,
    args: [fileURLToPath(new URL('./s3rver-main.ts', import.meta.url)), plain, String(port)],
    ready: () => httpAnswers(endpoint),
  });
  await child.start(options.signal);
  const access = { endpoint, region: 'us-east-1', access_key: 'S3RVER', secret_key: 'S3RVER', bucket: DEFAULT_BUCKET };
  return new Server('s3', access, [child]);
}

async function makeBucket(access: S3Access): Promise<void> {
  const client = new S3Client({
    endpoint: access.endpoint,
    region: access.region,
    credentials: { accessKeyId: access.access_key, secretAccessKey: access.secret_key },
    forcePathStyle: true,
    maxAttempts: 5,
  });
  try {
    const there = await client.send(new HeadBucketCommand({ Bucket: access.bucket })).then(
      () => true,
      () => false,
    );
    if (!there) await client.send(new CreateBucketCommand({ Bucket: access.bucket }));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new PermanentError('bucket_not_made', `The bucket ${access.bucket} could not be made at ${access.endpoint}: ${why}`, {
      cause: error,
    });
  } finally {
    client.destroy();
  }
}
