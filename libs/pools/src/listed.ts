import { PermanentError } from '@openservice/domain';
import type { ListOptions } from './pool.ts';

/** What `look` finds of a block that is listed. One that is damaged is told to `onDamaged`, and is null; without it, it is thrown as all else is. */
export async function listed<T>(blockId: string, { onDamaged }: ListOptions, look: () => Promise<T>): Promise<T | null> {
  try {
    return await look();
  } catch (error) {
    if (onDamaged === undefined || !(error instanceof PermanentError && error.code.startsWith('damaged_'))) throw error;
    onDamaged(blockId, error);
    return null;
  }
}
