import { connectNbd } from '@openservice/nbd';
import { type Write, writeBytes } from '../model/content.ts';
import type { Action } from './action.ts';
import { someInstance } from './targets.ts';

const LIMIT_MS = 8_000;

/** Writes and flushes over NBD. Only what was flushed is sure; what was not answered for may be there or not. */
export const writeInstance: Action = {
  kind: 'write',
  weight: 8,
  async run(hands, draw) {
    const instance = someInstance(hands, draw);
    const [at, part] = [draw.next(), draw.next()];
    if (instance === undefined || hands.model.busy(instance.id)) return false;
    const { size } = instance.disk.disk;
    if (size === 0) return false;
    const offset = Math.floor(at * size);
    const length = Math.max(1, Math.floor(part * Math.min(size - offset, 300_000)));
    const answer = await hands.asker.look(`/cdm_instances/${instance.id}`);
    const uri = answer?.body.cdm_instance?.disks?.[0]?.uri as string | undefined;
    if (answer?.status !== 200 || uri === undefined || answer.body.cdm_instance.state !== 'loaded') return false;
    const write: Write = { offset, length, seed: hands.name, sure: false };
    const signal = AbortSignal.any([hands.signal, AbortSignal.timeout(LIMIT_MS)]);
    try {
      const disk = await connectNbd(uri, { signal, connectLimit: 3_000 });
      try {
        await disk.write(offset, writeBytes(write), signal);
        await disk.flush(signal);
        hands.asker.record({ type: 'wrote', at: hands.asker.now, instance: instance.id, write: { ...write, sure: true } });
      } finally {
        await disk.close();
      }
    } catch {
      if (!isSure(hands.model.instances.get(instance.id)?.writes, write)) {
        hands.asker.record({ type: 'wrote', at: hands.asker.now, instance: instance.id, write });
      }
    }
    return true;
  },
};

const isSure = (writes: readonly Write[] | undefined, { seed }: Write): boolean =>
  writes?.some((one) => one.seed === seed && one.sure) ?? false;
