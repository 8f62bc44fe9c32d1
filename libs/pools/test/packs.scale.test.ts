/** OPENSERVICE_SCALE_CHUNKS: of the pool that is made up; ten million take a few minutes. */
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';

const CHUNKS = Number(process.env.OPENSERVICE_SCALE_CHUNKS ?? 1_000_000);
const LOOKUP_LIMIT_US = 100;

describe(`a node beside a pool of ${CHUNKS} chunks`, function () {
  this.timeout(60_000 + CHUNKS / 10);

  it('finds all of them, and collects, in less than 350 MiB', async () => {
    const child = fileURLToPath(new URL('support/scale-child.ts', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [child, String(CHUNKS)]);
    const result = JSON.parse(stdout) as {
      found: number;
      wrong: number;
      condemned: number;
      packs: number;
      peakMiB: number;
      times: Record<'sync' | 'syncAgain' | 'lookups' | 'misses' | 'snapshot', number>;
    };
    process.stdout.write(`      ${stdout}`);
    expect(result).to.deep.include({ found: 50_000, wrong: 0 });
    expect(result.condemned).to.be.closeTo(result.packs / 2, result.packs / 16 + 1400);
    expect(result.peakMiB).to.be.lessThan(350);
    expect((result.times.lookups * 1000) / 50_000, 'µs a lookup').to.be.lessThan(LOOKUP_LIMIT_US);
  });
});
