import { constants } from 'node:fs';
import { open } from 'node:fs/promises';

/** What was created, renamed or removed in the directory is durable once it resolves. Errors are the system's. */
export async function syncDirectory(directory: string): Promise<void> {
  const handle = await open(directory, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
