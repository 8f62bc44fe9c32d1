import { PermanentError } from '@openservice/domain';

/** What pools say of a replica, or a part of it, that is damaged beyond reading; anything else is an error of the job. */
const UNREADABLE = new Set([
  'block_not_in_pool',
  'damaged_block',
  'damaged_manifest',
  'damaged_ledger',
  'damaged_chunk',
  'damaged_pack',
  'damaged_object',
  'object_not_found',
]);

/** True for what a pool throws when the data of a block is damaged or gone. */
export function isUnreadable(error: unknown): error is PermanentError {
  return error instanceof PermanentError && UNREADABLE.has(error.code);
}
