/** A disk a day later: a copy of an image in which about one percent of the data was written anew. */
import { randomBytes } from 'node:crypto';
import { open, rm } from 'node:fs/promises';
import { timeProgram } from './lab.ts';

const MIB = 1024 ** 2;
const PAGE = 4096;
/** As a database or a log writes: a few places, each a run of new bytes. */
const RUN_BYTES = MIB;

/** Makes `to`: `from` with `percent` % of `dataBytes` changed, in runs of 1 MiB at pages spread over the data. */
export async function changedImage(
  from: string,
  to: string,
  dataBytes: number,
  percent: number,
  signal: AbortSignal,
): Promise<void> {
  await rm(to, { force: true });
  await timeProgram('cp', ['--sparse=always', from, to], signal);
  const runs = Math.max(1, Math.round((dataBytes * percent) / 100 / RUN_BYTES));
  const file = await open(to, 'r+');
  try {
    const pages = await dataPages(file);
    for (let i = 0; i < runs; i++) {
      const page = pages[Math.floor(((i + 0.5) / runs) * pages.length)] ?? 0;
      await file.write(randomBytes(RUN_BYTES), 0, RUN_BYTES, page * PAGE);
    }
    await file.sync();
  } finally {
    await file.close();
  }
}

/** The first page of each MiB that holds data, by reading: the bench needs no more. */
async function dataPages(file: Awaited<ReturnType<typeof open>>): Promise<number[]> {
  const { size } = await file.stat();
  const buffer = Buffer.alloc(PAGE);
  const zeros = Buffer.alloc(PAGE);
  const pages: number[] = [];
  for (let at = 0; at + RUN_BYTES + PAGE < size; at += MIB) {
    // In the middle of the MiB, so that the run lies across a border of chunks.
    await file.read(buffer, 0, PAGE, at + RUN_BYTES / 2);
    if (!buffer.equals(zeros)) pages.push((at + RUN_BYTES / 2) / PAGE);
  }
  return pages;
}
