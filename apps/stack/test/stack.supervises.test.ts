import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { isAlive } from '@openservice/servers';
import { expect } from 'chai';
import { startArguments } from '../src/supervisor/options.ts';
import { type StackFile, startStack } from '../src/supervisor/stack.ts';

const mains = { center: join(import.meta.dirname, 'stand-ins/center.ts'), node: join(import.meta.dirname, 'stand-ins/node.ts') };

describe('the stack', () => {
  const dir = mkdtempSync(join(tmpdir(), 'openservice-stack-'));
  after(() => rmSync(dir, { recursive: true, force: true }));

  it('starts what dies again, names the new pid in stack.json, and leaves nothing running', async function () {
    this.timeout(120_000);
    const stack = await startStack({ dir, quiet: true, s3Mode: 'memory', mains });
    const read = () => JSON.parse(readFileSync(join(dir, 'stack.json'), 'utf8')) as StackFile;
    try {
      expect(read()).deep.equal(stack.stack);
      expect(statSync(join(dir, 'stack.json')).mode & 0o777).equal(0o600);
      expect(stack.stack.nodes.map((node) => node.id)).deep.equal(['node-1', 'node-2']);

      const before = stack.stack.nodes[0]?.pid ?? 0;
      const again = once(stack.events, 'restarted');
      process.kill(before, 'SIGKILL');
      await again;
      expect(read().nodes[0]?.pid).not.equal(before);
      expect(isAlive(read().nodes[0]?.pid ?? 0)).equal(true);

      const redisAgain = once(stack.events, 'restarted');
      stack.servers.redis?.kill('SIGKILL');
      expect((await redisAgain)[0]).equal('redis');

      const refused = await startStack({ dir, quiet: true, mains }).catch((error: Error) => error.message);
      expect(refused).match(new RegExp(`pid ${process.pid}`));
    } finally {
      const pids = [...stack.children.values(), ...stack.servers.all.flatMap((one) => [...one.children])].map(
        (child) => child.pid ?? 0,
      );
      expect(pids.every((pid) => isAlive(pid))).equal(true);
      await stack.stop();
      expect(pids.filter((pid) => isAlive(pid))).deep.equal([]);
      expect(existsSync(join(dir, 'stack.json'))).equal(false);
    }
  });

  it('refuses arguments with what they must be', () => {
    expect(() => startArguments(['--nodes', '0'])).throw('--nodes must be a whole number from 1 to 16');
    expect(() => startArguments(['--prot', '80'])).throw('Usage: npm start');
    expect(startArguments(['--', '--port', '9000'])).include({ port: 9000, nodes: 2 });
  });
});
