/** Looks at the source of an import, before it is accepted. */
import { PermanentError } from '@openservice/domain';
import { connectNbd } from '@openservice/nbd';
import type { ImageFormat } from '@openservice/protocol';
import type { NodeReply, NodeRequest } from '@openservice/runtime';
import { probeHttp } from './http-probe.ts';
import { mismatch, serveImage } from './image.ts';
import { readExactly } from './image-files.ts';
import { recogniseFormat } from './magic.ts';
import type { SourceDeps } from './port.ts';

/**
 * `format` null: recognised. A guest writes the first bytes of its own raw disk, so an image that was only recognised, not said to be one,
 * must not lead to other files. Errors are those of openSource, `image_format_mismatch`, and `image_format_needed`.
 */
export async function probeSource(
  deps: SourceDeps,
  source: NodeRequest<'source_probe'>['source'],
  signal: AbortSignal,
): Promise<NodeReply<'source_probe'>> {
  if (source.type === 'file') return probeFile(deps, source.path, source.format, signal);
  if (source.type === 'http') return probeHttp(source.url, source.format, signal);
  const client = await connectNbd(source.uri, { signal });
  const { size } = client.disk;
  await client.close();
  return { size, ...RAW };
}

const RAW = { format: 'raw', etag: null, last_modified: null } as const;

async function probeFile(
  deps: SourceDeps,
  path: string,
  asked: ImageFormat | null,
  signal: AbortSignal,
): Promise<NodeReply<'source_probe'>> {
  const { handle, size } = await deps.importRoots.openSource(path);
  let seen: ImageFormat;
  try {
    if (asked === 'raw') return { size, ...RAW };
    seen = await recogniseFormat((offset, length) => readExactly(handle, path, offset, length), size);
  } finally {
    await handle.close();
  }
  if (asked !== null && asked !== seen) throw mismatch(path, asked, seen);
  if (seen === 'raw') return { size, ...RAW };
  const image = await serveImage(deps, path, seen, signal);
  try {
    if (asked === null && image.others.length > 0) {
      throw new PermanentError(
        'image_format_needed',
        `${path} looks like ${seen} that stands on ${image.others[0]}; say "format": "${seen}" if it is one, or "raw" if it is a plain disk.`,
      );
    }
    return { ...RAW, size: image.client.disk.size, format: seen };
  } finally {
    await image.close();
  }
}
