/** The node's resident memory, by the kernel's own high-water mark: no peak falls between two polls. */
import { readFile, writeFile } from 'node:fs/promises';
import { PermanentError } from '@openservice/domain';
import { nodeOf } from '@openservice/stack/demo/node-crash';
import { type Lab, NODE_ID } from './lab.ts';

/** Runs `work`; answers its value and the most MiB that the node's process was resident with meanwhile. */
export async function withPeak<T>(lab: Lab, work: () => Promise<T>): Promise<{ value: T; peakMiB: number }> {
  const { pid } = nodeOf(lab.stack, NODE_ID);
  // 5 sets the mark back to what is resident now (proc(5), clear_refs).
  await writeFile(`/proc/${pid}/clear_refs`, '5');
  const value = await work();
  const status = await readFile(`/proc/${pid}/status`, 'utf8');
  const kib = /^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1];
  if (kib === undefined) throw new PermanentError('no_memory_figures', `/proc/${pid}/status names no VmHWM.`);
  return { value, peakMiB: Number(kib) / 1024 };
}
