import type { NodeReply, NodeRequest } from '@openservice/runtime';
import { probeSource, type SourceDeps } from '../sources/open-source.ts';

/** The center waits 20 s. */
const LIMIT_MS = 18_000;

/** Errors are those of probeSource. */
export function sourceProbe(deps: SourceDeps, request: NodeRequest<'source_probe'>): Promise<NodeReply<'source_probe'>> {
  return probeSource(deps, request.source, AbortSignal.timeout(LIMIT_MS));
}
