/** NATS, Redis and MySQL only carry or hold still: emptied, away or repeating themselves, they cost no job and no byte. */
import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect } from 'chai';
import { Redis } from 'ioredis';
import { connect, headers, type NatsConnection } from 'nats';
import { fileDigest } from './disk.ts';
import { diskFile, imported, localPool, restoredFile, s3Pool, s3PoolBody, startAction, startImport } from './steps.ts';
import { type System, startSystem } from './system.ts';

describe('the servers that carry', function () {
  this.timeout(180_000);
  let system: System;
  let local: { id: string; path: string };
  let nats: NatsConnection;

  before(async () => {
    system = await startSystem({ nodes: 1 });
    local = await localPool(system);
    nats = await connect({ servers: system.servers.nats.url, maxReconnectAttempts: -1, reconnectTimeWait: 200 });
  });
  after(async () => {
    await nats?.close();
    await system?.stop();
  });

  const running = (jobId: string) => system.api.jobWhen(jobId, (job) => job.state === 'running' && job.bytes_done > 0);

  it('a FLUSHALL in Redis while a job runs costs nothing', async () => {
    const path = await diskFile(system, 300);
    const blockId = await imported(system, local.id, path);
    const remote = await s3Pool(system);
    const jobId = await startAction(system, blockId, 'upload', { pool_id: remote });
    await running(jobId);
    const redis = new Redis(system.servers.redis.url);
    await redis.flushall();
    await redis.quit();
    await system.api.succeeded(jobId);
    expect(await fileDigest(await restoredFile(system, blockId, remote))).to.equal(await fileDigest(path));
  });

  it('a FLUSHALL between the ack and the start of a job costs nothing', async () => {
    const path = await diskFile(system, 12);
    const node = system.nodes[0]!;
    await node.restart({ OPENSERVICE_FAILPOINTS: 'agent.acked=kill' });
    await system.ready();
    const { jobId } = await startImport(system, local.id, path);
    await node.ended;
    const redis = new Redis(system.servers.redis.url);
    await redis.flushall();
    await redis.quit();
    node.start();
    await system.api.succeeded(jobId);
  });

  it('a command and an event delivered twice are one job, one result', async () => {
    const twice: Promise<unknown>[] = [];
    const js = nats.jetstream();
    let repeated = 0;
    const tap = nats.subscribe('openservice.v1.>', {
      callback: (_error, message) => {
        const kind = message.subject.split('.')[2];
        if ((kind !== 'cmd' && kind !== 'evt') || message.headers?.has('Repeated')) return;
        repeated++;
        twice.push(
          js.publish(message.subject, message.data, { headers: repeatedHeaders(), msgID: `again-${repeated}-${Date.now()}` }),
        );
      },
    });
    const path = await diskFile(system, 24);
    const { blockId, jobId } = await startImport(system, local.id, path);
    await system.api.succeeded(jobId);
    tap.unsubscribe();
    await Promise.all(twice);
    expect(repeated).to.be.greaterThan(3);
    const { body } = await system.api.ok('GET', `/jobs/${jobId}`);
    const ends = (body.job.history as { to: string; to_state?: string }[]).filter(
      (step) => (step.to ?? step.to_state) === 'succeeded',
    );
    expect(ends).to.have.length(1);
    expect((await system.api.ok('GET', `/blocks/${blockId}`)).body.block.replicas).to.have.length(1);
  });

  it('a JetStream directory that is wiped while a job runs costs nothing', async () => {
    const path = await diskFile(system, 200);
    const blockId = await imported(system, local.id, path);
    const remote = await s3Pool(system);
    const jobId = await startAction(system, blockId, 'upload', { pool_id: remote });
    await running(jobId);
    const manager = await nats.jetstreamManager();
    await manager.streams.delete('OPENSERVICE_CMD');
    await manager.streams.delete('OPENSERVICE_EVT');
    await system.api.succeeded(jobId, 120_000);
    const next = await startAction(system, blockId, 'verify', {});
    await system.api.succeeded(next, 120_000);
  });

  it("JetStream's files deleted under the running server while a job runs cost nothing", async () => {
    const path = await diskFile(system, 200);
    const blockId = await imported(system, local.id, path);
    const remote = await s3Pool(system);
    const jobId = await startAction(system, blockId, 'upload', { pool_id: remote });
    await running(jobId);
    await rm(join(system.dir, 'servers/nats/jetstream/$G/streams'), { recursive: true });
    await system.api.succeeded(jobId, 120_000);
    const next = await startAction(system, blockId, 'verify', {});
    await system.api.succeeded(next, 120_000);
  });

  it('NATS away in the middle of a job: jobs are still accepted, what needs a node at once is refused with 503, and all goes on', async () => {
    const path = await diskFile(system, 200);
    const blockId = await imported(system, local.id, path);
    const first = await s3Pool(system);
    const second = await s3Pool(system);
    const running1 = await startAction(system, blockId, 'upload', { pool_id: first });
    await running(running1);
    await system.servers.nats.kill();
    const queued = await startAction(system, blockId, 'upload', { pool_id: second });
    const refused = await system.api.put('/pools', s3PoolBody(system));
    expect(refused.status).to.equal(503);
    expect(refused.body.code).to.equal('node_unavailable');
    await system.servers.nats.start();
    await system.api.succeeded(running1, 120_000);
    await system.api.succeeded(queued, 120_000);
  });

  it('Redis away in the middle of a job: nothing is lost and all goes on', async () => {
    const path = await diskFile(system, 200);
    const blockId = await imported(system, local.id, path);
    const remote = await s3Pool(system);
    await system.servers.redis.kill();
    const jobId = await startAction(system, blockId, 'upload', { pool_id: remote });
    await system.api.jobWhen(jobId, (job) => job.state === 'accepted');
    await system.servers.redis.start();
    await system.api.succeeded(jobId, 120_000);
  });

  it('MySQL away in the middle of a job: the API answers 503, the job goes on and its end arrives', async () => {
    const path = await diskFile(system, 200);
    const blockId = await imported(system, local.id, path);
    const remote = await s3Pool(system);
    const jobId = await startAction(system, blockId, 'upload', { pool_id: remote });
    await running(jobId);
    await system.servers.mysql.kill();
    const refused = await system.api.get('/pools');
    expect(refused.status).to.equal(503);
    expect(refused.body.code).to.equal('database_unavailable');
    await system.servers.mysql.start();
    await system.api.succeeded(jobId, 120_000);
  });
});

function repeatedHeaders() {
  const marked = headers();
  marked.set('Repeated', 'yes');
  return marked;
}
