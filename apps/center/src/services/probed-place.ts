/** A node's "no" to the source of an import or the target of a restore, with the field of the request that it is about. */
import { OpenServiceError, TransientError } from '@openservice/domain';
import { Refusal } from './refusal.ts';

/**
 * What `probe` answers. A refusal of the node names `field`; a place that does not answer stays transient, so that the same call, with the same
 * Idempotency-Key, may succeed later. A node that is away says nothing of the place: that error goes through.
 */
export async function probed<T>(field: string, nodeId: string, probe: Promise<T>): Promise<T> {
  try {
    return await probe;
  } catch (error) {
    if (!(error instanceof OpenServiceError) || error instanceof Refusal || error.code === 'node_unavailable') throw error;
    if (error.outcome === 'permanent' && error.code !== 'internal') {
      throw new Refusal(error.code, error.message, { errors: [{ path: field, message: error.message }] }, { cause: error });
    }
    if (error.code !== 'unreachable') throw error;
    const remedy = `See that ${field} is right and can be reached from node ${nodeId}.`;
    throw new TransientError(error.code, `${error.message} ${remedy}`, { cause: error });
  }
}
