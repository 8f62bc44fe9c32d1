/** Opens what an import reads. The door of this folder. */
import { isDeepStrictEqual } from 'node:util';
import { PermanentError } from '@openservice/domain';
import type { SourceRef } from '@openservice/protocol';
import { openContent } from './content.ts';
import { openFile } from './file.ts';
import { openHttp } from './http.ts';
import { safeName } from './http-request.ts';
import { openImage } from './image.ts';
import { openNbd } from './nbd.ts';
import type { ImportSource, SourceBlock, SourceDeps } from './port.ts';

export type { ImportSource, SourceBlock, SourceDeps } from './port.ts';
export { probeSource } from './probe-source.ts';
export { withParent } from './with-parent.ts';

/**
 * The source as the job was accepted for it. `before`: the identity that an earlier run of this job saw; null where there was none.
 * PermanentError `source_changed` where size or identity differ; those of each kind of source; TransientError where it is away.
 */
export async function openSource(
  deps: SourceDeps,
  source: SourceRef,
  block: SourceBlock,
  before: unknown,
  signal: AbortSignal,
): Promise<ImportSource> {
  const opened = await open(deps, source, block, signal);
  // The journal holds JSON: an identity is compared as it comes back from there.
  if (before === null || before === undefined || isDeepStrictEqual(before, asJson(opened.identity))) return opened;
  await opened.close();
  throw new PermanentError(
    'source_changed',
    `${nameOf(source)} is not what it was when this import began to read it; import it again when nobody writes to it.`,
  );
}

function open(deps: SourceDeps, source: SourceRef, block: SourceBlock, signal: AbortSignal): Promise<ImportSource> {
  switch (source.type) {
    case 'file':
      return source.format === 'raw'
        ? openFile(deps, source.path, block)
        : openImage(deps, source.path, source.format, block, signal);
    case 'http':
      return openHttp(deps, source, block, signal);
    case 'nbd':
      return openNbd(deps, source.uri, block, signal);
    case 'content':
      return openContent(deps, block);
  }
}

function asJson(value: unknown): unknown {
  return JSON.parse(JSON.stringify(value)) as unknown;
}

function nameOf(source: SourceRef): string {
  if (source.type === 'file') return source.path;
  if (source.type === 'http') return safeName(source.url);
  return source.type === 'nbd' ? source.uri : 'The uploaded content';
}
