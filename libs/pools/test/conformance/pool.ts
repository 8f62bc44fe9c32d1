/**
 * What every pool must do. Each driver's own test file runs it: `describePool('raw over fs', async () => …, { lacks: { … } })`. Each group
 * of cases gets pools of its own, and all run side by side.
 */
import type { Pool } from '@openservice/pools';
import { describeCloning } from './cloning.ts';
import { describeCollecting } from './collecting.ts';
import { describeFencing } from './fencing.ts';
import { describeKeeping } from './keeping.ts';
import { describeListing } from './listing.ts';
import { describeReading } from './reading.ts';
import { describeRepairing } from './repairing.ts';
import { describeSharing } from './sharing.ts';
import { describeStored } from './stored.ts';
import { SuiteRun } from './suite.ts';
import { describeWriting } from './writing.ts';

export interface PoolUnderTest {
  /** A new instance on the same place, as after a restart of the process. */
  open(): Pool;
  /** Damages the stored bytes of some data chunk of a committed block; others in the same pool may be damaged with it. */
  corrupt(blockId: string): Promise<void>;
  /** Deletes what a committed block cannot be without, its manifest or its files, as somebody's hand would; its ledger stays. */
  lose(blockId: string): Promise<void>;
  destroy(): Promise<void>;
}

/**
 * `clone`: openClone answers null; `sharing`: blocks share no chunks; `stored`: chunks are not handed out as they are stored; `known`: digests
 * are not known without reading.
 */
export type Ability = 'clone' | 'sharing' | 'stored' | 'known';

export interface PoolSuiteOptions {
  /** What the driver cannot do, and why: the reason is printed, and the suite checks what must come instead. */
  lacks?: Partial<Record<Ability, string>>;
}

export type MakePool = () => Promise<PoolUnderTest>;

/** `make` is called several times; the places that it answers must not touch each other. */
export function describePool(name: string, make: MakePool, options: PoolSuiteOptions = {}): void {
  const lacks = options.lacks ?? {};
  describe(`pool ${name}`, function () {
    this.timeout(60_000);
    const run = new SuiteRun(make);
    before(() => run.start());
    after(() => run.end());
    describeReading(run, lacks);
    describeWriting(run);
    describeFencing(run);
    describeKeeping(run);
    describeListing(run);
    describeCloning(run, lacks);
    describeSharing(run, lacks);
    describeStored(run, lacks);
    describeCollecting(run);
    describeRepairing(run);
  });
}
