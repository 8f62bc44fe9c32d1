import { createServer, type Server } from 'node:http';
import { type ChunkWorkers, createChunkWorkers } from '@openservice/codec';
import { OpenServiceError, type S3PoolSpec } from '@openservice/domain';
import { openPool } from '@openservice/pools';
import { expect } from 'chai';
import { hasS3, type TestS3, testS3 } from './support/s3-server.ts';

const signal = new AbortController().signal;
const SECRET = 'a-secret-that-must-not-show';

describe('s3 pools that cannot be used', function () {
  this.timeout(60_000);
  let workers: ChunkWorkers;
  let server: Server;
  let port = 0;
  let answer: { status: number; type: string; body: string };

  before(async () => {
    workers = createChunkWorkers({ threads: 1 });
    server = createServer((request, response) => {
      request.resume();
      response.writeHead(answer.status, { 'content-type': answer.type }).end(answer.body);
    });
    await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
    port = (server.address() as { port: number }).port;
  });
  after(async () => {
    await workers.close();
    await new Promise((done) => server.close(done));
  });

  async function refusal(spec: S3PoolSpec): Promise<OpenServiceError> {
    try {
      const pool = openPool(spec, { workers });
      try {
        await pool.probe({ create: true }, signal);
      } finally {
        await pool.close();
      }
    } catch (error) {
      expect(error).to.be.instanceOf(OpenServiceError);
      expect(`${(error as Error).message}`).to.not.include(spec.secret_key);
      return error as OpenServiceError;
    }
    throw new Error('the pool was not refused');
  }

  const local = (change: Partial<S3PoolSpec> = {}): S3PoolSpec => ({
    id: 'pool-x',
    type: 's3',
    s3_scheme: 'other',
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    bucket: 'some-bucket',
    prefix: 'p',
    access_key: 'some-access',
    secret_key: SECRET,
    https: false,
    encryption_key: null,
    ...change,
  });
  const xml = (status: number, code: string) => ({
    status,
    type: 'application/xml',
    body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>no</Message></Error>`,
  });

  it('says that a web page is no S3 server', async () => {
    for (const status of [200, 404, 405]) {
      answer = { status, type: 'text/html', body: '<!DOCTYPE html><html><body><p>Hello & welcome<br></body></html>' };
      expect((await refusal(local())).code, `status ${status}`).to.equal('endpoint_invalid');
    }
  });

  it('names the code of each refusal', async () => {
    const expected: [number, string, string][] = [
      [403, 'InvalidAccessKeyId', 'access_denied'],
      [403, 'SignatureDoesNotMatch', 'access_denied'],
      [403, 'AccessDenied', 'access_denied'],
      [404, 'NoSuchBucket', 'bucket_not_found'],
      [301, 'PermanentRedirect', 'wrong_region'],
      [400, 'AuthorizationHeaderMalformed', 'wrong_region'],
      [403, 'QuotaExceeded', 'no_space'],
      [403, 'RequestTimeTooSkewed', 'clock_skewed'],
    ];
    for (const [status, code, ours] of expected) {
      answer = xml(status, code);
      expect((await refusal(local())).code, code).to.equal(ours);
    }
  });

  it('wants an endpoint for the scheme "other"', async () => {
    expect((await refusal(local({ endpoint: null }))).code).to.equal('endpoint_invalid');
  });
});

if (hasS3('refusals of a real S3')) {
  describe('a real s3 server', function () {
    this.timeout(60_000);
    let s3: TestS3;
    let workers: ChunkWorkers;
    before(async () => {
      s3 = await testS3();
      workers = createChunkWorkers({ threads: 1 });
    });
    after(async () => {
      await workers.close();
      await s3.destroy();
    });

    const codeOf = async (spec: S3PoolSpec, create = true): Promise<string> => {
      const pool = openPool(spec, { workers });
      try {
        await pool.probe({ create }, signal);
        return 'usable';
      } catch (error) {
        return (error as OpenServiceError).code;
      } finally {
        await pool.close();
      }
    };

    it('refuses a wrong key, a wrong secret and a bucket that is not there', async () => {
      expect(await codeOf(s3.spec('r', { access_key: 'nobody' }))).to.equal('access_denied');
      expect(await codeOf(s3.spec('r', { secret_key: 'wrong' }))).to.equal('access_denied');
      expect(await codeOf(s3.spec('r', { bucket: 'openservice-no-such-bucket' }))).to.equal('bucket_not_found');
    });

    it("refuses a prefix that is not set up, another pool's, or full of other things", async () => {
      expect(await codeOf(s3.spec('r'), false)).to.equal('pool_not_initialised');
      expect(await codeOf(s3.spec('r'))).to.equal('usable');
      expect(await codeOf(s3.spec('r', { id: 'pool-other' }))).to.equal('pool_path_in_use');
      expect(await codeOf(s3.spec(''))).to.equal('pool_path_in_use');
    });
  });
}
