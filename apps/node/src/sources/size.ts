import { PermanentError } from '@openservice/domain';
import type { SourceBlock } from './port.ts';

/** PermanentError `source_changed` when the source has another size than the job was accepted for. Bytes. */
export function demandSize(name: string, size: number, block: SourceBlock): void {
  if (size === block.size) return;
  throw new PermanentError(
    'source_changed',
    `${name} has ${size} bytes now and had ${block.size} when the import was asked for; ask again when nobody writes to it.`,
  );
}
