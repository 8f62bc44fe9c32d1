import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';

const MIB = 1024 * 1024;
const MOST_MIB = 350;

describe('memory of a node', () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), 'memory-'));
  });
  afterEach(() => rm(dir, { recursive: true }));

  it(`stays below ${MOST_MIB} MiB through imports (one of 256 GiB, sparse), uploads into packs, an import and an upload into a dedup pool, a collection, a verify and a restore`, async function () {
    if (process.platform !== 'linux') this.skip();
    this.timeout(120_000);
    const script = fileURLToPath(new URL('memory-run.ts', import.meta.url));
    const { stdout } = await promisify(execFile)(process.execPath, [script, dir], { timeout: 110_000 });
    const { most, verified, restored } = JSON.parse(stdout);
    console.log(`      most resident: ${Math.round(most / 1024)} MiB`);
    expect(most / 1024).to.be.lessThan(MOST_MIB);
    expect(verified).to.equal(true);
    expect(restored).to.include({
      bytes_total: 1024 * MIB,
      bytes_done: 1024 * MIB,
      bytes_sent: 300 * MIB,
      bytes_skipped: 724 * MIB,
    });
  });
});
