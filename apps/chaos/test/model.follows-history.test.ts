import { join } from 'node:path';
import { tempDir } from '@openservice/testkit';
import { expect } from 'chai';
import { plain } from '../src/model/content.ts';
import { type Answered, type Asked, History, readHistory } from '../src/model/history.ts';
import { instanceContent, Model } from '../src/model/model.ts';

const disk = { size: 1000, seed: 'd' };
const asked = (key: string, kind: string, about: Asked['about'] = {}): Asked => ({
  type: 'asked',
  at: 1,
  step: 1,
  kind,
  key,
  method: 'POST',
  path: '/',
  body: null,
  about,
});
const told = (key: string, more: Partial<Answered> = {}): Answered => ({
  type: 'answered',
  at: 2,
  key,
  status: 202,
  code: null,
  jobs: [],
  block: null,
  instance: null,
  blocks: [],
  ...more,
});
const imported = [asked('k1', 'import', { content: plain(disk) }), told('k1', { block: 'block-1', jobs: ['job-1'] })] as const;

describe('the model of a client', () => {
  it('is made again from its file', () => {
    const dir = tempDir();
    const history = new History(join(dir.path, 'client.jsonl'), performance.now());
    for (const entry of imported) history.append(entry);
    history.append({ type: 'saw', at: 3, job: 'job-1', state: 'succeeded' });
    const model = Model.of(readHistory(history.file));
    dir.remove();
    expect(model.blocks.get('block-1')?.content).deep.equal(plain(disk));
    expect(model.jobs.get('job-1')?.state).equal('succeeded');
    expect(model.runningJobs).deep.equal([]);
  });

  it('keeps open what was not answered, and takes an answer once', () => {
    const model = Model.of([asked('k1', 'import', { content: plain(disk) }), { type: 'lost', at: 2, key: 'k1', why: 'reset' }]);
    expect(model.open.map(({ key }) => key)).deep.equal(['k1']);
    model.apply(told('k1', { block: 'block-1', jobs: ['job-1'] }));
    model.apply(told('k1', { block: 'block-2', jobs: ['job-2'] }));
    expect([...model.blocks.keys()]).deep.equal(['block-1']);
    expect(model.open).deep.equal([]);
  });

  it('counts a delete that was asked for and never answered, and forgets one that was refused', () => {
    const model = Model.of([...imported, asked('k2', 'delete', { block: 'block-1' })]);
    expect(model.blocks.get('block-1')?.fate).length(1);
    model.apply(told('k2', { status: 409, code: 'block_busy' }));
    expect(model.blocks.get('block-1')?.fate).length(0);
  });

  it('follows what is written to an instance, and knows when it does not know', () => {
    const load = [
      ...imported,
      asked('k3', 'load', { block: 'block-1', node: 'node-1' }),
      told('k3', { instance: 'ins-1', jobs: ['job-3'] }),
    ];
    const model = Model.of(load);
    const write = { offset: 0, length: 10, seed: 'w', sure: true };
    model.apply({ type: 'wrote', at: 4, instance: 'ins-1', write });
    const instance = model.instances.get('ins-1');
    if (instance === undefined) throw new Error('the instance is not known');
    expect(instanceContent(instance)).deep.equal({ disk, writes: [write] });
    model.apply({ type: 'rewound', at: 5, instance: 'ins-1', sure: false });
    expect(instanceContent(instance).writes[0]?.sure).equal(false);
    model.apply({ type: 'rewound', at: 5, instance: 'ins-1', sure: true });
    expect(instanceContent(instance).writes).deep.equal([]);
    model.apply(asked('k4', 'save', { instance: 'ins-1' }));
    expect(model.busy('ins-1')).equal(true);
    model.apply(told('k4', { jobs: ['job-4'], blocks: ['block-9'] }));
    expect(model.busy('ins-1')).equal(true);
    model.apply({ type: 'saw', at: 6, job: 'job-4', state: 'failed' });
    expect(model.busy('ins-1')).equal(false);
  });

  it('remembers that a center answered with a defect', () => {
    const model = Model.of([
      imported[0],
      { type: 'lost', at: 2, key: 'k1', why: '500 internal' },
      { type: 'lost', at: 3, key: 'k1', why: '503 database_unavailable' },
    ]);
    expect(model.defects).deep.equal([{ key: 'k1', why: '500 internal' }]);
  });
});
