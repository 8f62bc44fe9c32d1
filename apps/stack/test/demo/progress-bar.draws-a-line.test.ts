import { expect } from 'chai';
import { ProgressBar } from '../../src/demo/progress-bar.ts';

const MIB = 1024 ** 2;

function page(isTTY: boolean, columns = 120) {
  const texts: string[] = [];
  return { isTTY, columns, texts, write: (text: string) => texts.push(text) };
}

describe('The progress bar', () => {
  it('writes a line every two seconds at most where nobody watches a terminal', () => {
    const out = page(false);
    let now = 0;
    const bar = new ProgressBar('upload', out, () => now);
    for (now = 0; now <= 10_000; now += 100) bar.update(now * 1000, 20_000_000);
    expect(out.texts).to.have.length(5);
    expect(out.texts.every((line) => line.endsWith('\n') && !line.includes('\r'))).to.equal(true);
  });

  it('says how much, how fast and how long still', () => {
    const out = page(false);
    let now = 0;
    const bar = new ProgressBar('upload', out, () => now);
    bar.update(0, 100 * MIB);
    now = 2000;
    bar.update(20 * MIB, 100 * MIB);
    expect(out.texts.at(-1))
      .to.contain('20 %')
      .and.contain('20.0 MiB of 100.0 MiB')
      .and.contain('10.0 MiB/s')
      .and.contain('ETA 0:08');
  });

  it('is drawn in place on a terminal, no wider than it', () => {
    const out = page(true, 40);
    let now = 0;
    const bar = new ProgressBar('upload', out, () => now);
    for (; now <= 1000; now += 100) bar.update(now, 1000);
    for (const text of out.texts) expect(text).to.match(/^\r/).and.have.length.at.most(44);
    bar.finish(1000);
    expect(out.texts.at(-1)).to.match(/done.*\n$/);
  });

  it('shows a job that went back to its checkpoint without a negative rate', () => {
    const out = page(false);
    let now = 0;
    const bar = new ProgressBar('upload', out, () => now);
    bar.update(50 * MIB, 100 * MIB);
    now = 2000;
    bar.update(40 * MIB, 100 * MIB);
    expect(out.texts.at(-1)).to.contain('40 %').and.contain('0 B/s').and.contain('ETA -');
  });

  it('writes nothing more once it has ended', () => {
    const out = page(false);
    const bar = new ProgressBar('upload', out, () => 0);
    bar.finish(0);
    bar.update(1, 1);
    bar.stop();
    bar.finish(1);
    expect(out.texts).to.have.length(1);
  });
});
