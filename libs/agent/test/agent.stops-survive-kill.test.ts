import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { NatsServer, needsServers, REDIS_URL } from './support/servers.ts';
import { StandInCenter } from './support/stand-in-center.ts';
import { tempDir } from './support/toy.ts';

/** `@2`: the second command that the node takes. */
const STEPS = [
  'agent.journalled=kill@2',
  'agent.acked=kill@2',
  'agent.checkpointed=kill',
  'agent.stopped=kill',
  'agent.rested=kill',
];

describe('agent, killed with SIGKILL while it stops a job', () => {
  let nats: NatsServer;
  before(async function () {
    needsServers(this);
    nats = await NatsServer.start();
  });
  after(() => nats?.stop());

  for (const [command, end] of [
    ['pause', 'paused'],
    ['drain', 'yielded'],
  ] as const) {
    for (const step of STEPS) {
      it(`${command}, at ${step.split('=')[0]}: ${end} once, and nothing is lost`, async function () {
        this.timeout(30_000);
        const nodeId = `stop-${process.pid}-${command}-${step.split('=')[0]?.replace('agent.', '')}`;
        const dir = await tempDir();
        const [file, go] = [join(dir.path, 'notes'), join(dir.path, 'go')];
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
            TOY_GO: go,
            OPENSERVICE_FAILPOINTS: failpoints,
          };
          const script = join(import.meta.dirname, 'support/toy-process.ts');
          const child = spawn(process.execPath, [script], { env, stdio: ['ignore', 'inherit', 'inherit'] });
          children.push(child);
          return child;
        };
        try {
          const killed = once(start(step), 'exit');
          await center.run('job-k');
          await center.until(() => center.find('job-k', 'running') !== undefined);
          await center.command(command, 'job-k');
          // The checkpoint comes after the command.
          await (step.endsWith('@2') ? killed : center.untilTaken());
          writeFileSync(go, '');
          expect((await killed)[1]).to.equal('SIGKILL');
          start('');
          await center.until(() => center.find('job-k', end) !== undefined);
          expect(center.of('job-k').filter((type) => type === end)).to.have.length(1);
          const notes = () => readFileSync(file, 'utf8').split('\n').filter(Boolean);
          expect(notes().some((line) => line.startsWith('commit'))).to.equal(false);
          const before = notes().length;
          if (command === 'pause') await center.command('resume', 'job-k');
          else await center.run('job-k', 2);
          await center.until(() => center.find('job-k', 'succeeded') !== undefined);
          const reached = step.endsWith('@2') ? 'null' : '{"step":1}';
          expect(notes().slice(before)).to.deep.equal([`run job-k ${reached}`, 'commit job-k']);
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
  }
});
