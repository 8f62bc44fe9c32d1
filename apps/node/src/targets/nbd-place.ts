/** An NBD export. */
import { PermanentError } from '@openservice/domain';
import { connectNbd, type NbdClient } from '@openservice/nbd';
import { demandRoom } from './file-place.ts';
import type { Place } from './place.ts';

/** PermanentError `read_only`, `target_too_small`, and those of connectNbd. */
export async function nbdPlace(uri: string, size: number, signal: AbortSignal): Promise<Place> {
  const client = await connectNbd(uri, { signal });
  try {
    if (client.disk.readOnly) {
      throw new PermanentError('read_only', `The export at ${uri} is read-only; export it writable to restore to it.`);
    }
    demandRoom(`The export at ${uri}`, client.disk.size, size);
    return new NbdPlace(client, uri);
  } catch (error) {
    await client.close();
    throw error;
  }
}

class NbdPlace implements Place {
  readonly identity: unknown;
  readonly #client: NbdClient;

  constructor(client: NbdClient, uri: string) {
    this.identity = { uri, size: client.disk.size };
    this.#client = client;
  }

  read(offset: number, target: Buffer, signal: AbortSignal): Promise<void> {
    return this.#client.read(offset, target, signal);
  }

  write(offset: number, bytes: Buffer, signal: AbortSignal): Promise<void> {
    return this.#client.write(offset, bytes, signal);
  }

  zero(offset: number, length: number, signal: AbortSignal): Promise<void> {
    return this.#client.writeZeroes(offset, length, signal);
  }

  flush(signal: AbortSignal): Promise<void> {
    return this.#client.flush(signal);
  }

  async storedBytes(): Promise<number> {
    return this.#client.disk.size;
  }

  close(): Promise<void> {
    return this.#client.close();
  }
}
