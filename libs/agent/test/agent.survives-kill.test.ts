import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { NatsServer, needsServers, REDIS_URL } from './support/servers.ts';
import { StandInCenter } from './support/stand-in-center.ts';
import { tempDir } from './support/toy.ts';

const STEPS = [
  'agent.journalled',
  'agent.acked',
  'agent.checkpointed',
  'agent.prepared',
  'agent.granted',
  'agent.committed',
  'agent.result-journalled',
];

describe('agent, killed with SIGKILL', () => {
  let nats: NatsServer;
  before(async function () {
    needsServers(this);
    nats = await NatsServer.start();
  });
  after(() => nats?.stop());

  for (const step of STEPS) {
    it(`at ${step} ends with one result after its restart`, async function () {
      this.timeout(30_000);
      const nodeId = `kill-${process.pid}-${step.replace('agent.', '')}`;
      const dir = await tempDir();
      const file = join(dir.path, 'notes');
      writeFileSync(file, '');
      const center = await StandInCenter.start(nats.url, nodeId);
      const children: ChildProcess[] = [];
      const start = (failpoints: string): ChildProcess => {
        const env = {
          ...process.env,
          TOY_NATS: nats.url,
          TOY_REDIS: REDIS_URL ?? '',
          TOY_NODE: nodeId,
          TOY_DIR: join(dir.path, 'data'),
          TOY_FILE: file,
          OPENSERVICE_FAILPOINTS: failpoints,
        };
        const script = join(import.meta.dirname, 'support/toy-process.ts');
        const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'inherit', 'inherit'] });
        children.push(child);
        return child;
      };
      try {
        const first = start(`${step}=kill`);
        const killed = once(first, 'exit');
        await center.run('job-k');
        expect((await killed)[1]).to.equal('SIGKILL');
        start('');
        await center.until(() => center.find('job-k', 'succeeded') !== undefined);
        const notes = readFileSync(file, 'utf8').split('\n');
        expect(notes.filter((line) => line.startsWith('commit'))).to.have.length(1);
        expect(center.of('job-k').filter((type) => type === 'succeeded')).to.have.length(1);
        expect(center.prepares).to.be.at.most(2);
        if (step === 'agent.granted' || step === 'agent.committed') expect(center.prepares).to.equal(1);
        if (step === 'agent.checkpointed') expect(notes).to.include('run job-k {"step":1}');
      } finally {
        for (const child of children) {
          if (child.exitCode !== null || child.signalCode !== null) continue;
          const ended = once(child, 'exit');
          child.kill('SIGKILL');
          await ended;
        }
        await center.stop();
        await dir.remove();
      }
    });
  }
});
