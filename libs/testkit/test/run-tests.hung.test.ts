import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import { tempDir } from '../src/index.ts';

const RUNNER = fileURLToPath(new URL('../src/run-tests.ts', import.meta.url));

describe('a run of tests', function () {
  this.timeout(60_000);

  for (const [name, left, hangs] of [
    ['a test left a server open', "require('node:net').createServer().listen(0, '127.0.0.1')", true],
    ['nothing is left open', 'undefined', false],
  ] as const) {
    it(`${hangs ? 'fails, and says what is alive,' : 'passes'} when ${name}`, async () => {
      const dir = tempDir();
      const spec = join(dir.path, 'left.test.ts');
      writeFileSync(
        spec,
        `const require = process.getBuiltinModule('node:module').createRequire('/');\nit('is well', () => void ${left});\n`,
      );
      const env = { ...process.env, OPENSERVICE_TEST_EXIT_MS: '3000' };
      const child = spawn(process.execPath, [RUNNER, spec], { env, stdio: ['ignore', 'pipe', 'pipe'] });
      const [out, errors, [code]] = await Promise.all([text(child.stdout), text(child.stderr), once(child, 'exit')]);
      dir.remove();
      if (!hangs) {
        expect([code, out.trim().split('\n').at(-1)]).to.deep.equal([0, '1 passed, 0 failed']);
        return;
      }
      expect(errors).to.match(/Server listening at .*127\.0\.0\.1/);
      expect(out).to.contain('did not exit within 3 s');
      expect([code, out.trim().split('\n').at(-1)]).to.deep.equal([1, '1 passed, 1 failed']);
    });
  }
});
