/** A worker thread: answers each ChunkRequest with one ChunkReply, in order. */
import { parentPort } from 'node:worker_threads';
import { PermanentError } from '@openservice/domain';
import { decodeChunk, digestChunk, encodeChunk } from './chunk-codec.ts';
import type { ChunkReply, ChunkRequest } from './messages.ts';
import type { ChunkSeal } from './port.ts';
import { roomToEncode } from './room.ts';

if (parentPort === null) throw new Error('chunk-worker.ts runs as a worker thread only');
const port = parentPort;

port.on('message', ({ id, request }: { id: number; request: ChunkRequest }) => {
  const reply = answer(id, request);
  port.postMessage(reply, reply.output === undefined ? [] : [reply.output.buffer as ArrayBuffer]);
});

function answer(id: number, request: ChunkRequest): ChunkReply {
  try {
    return { id, ...run(request) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { id, failure: { code: error instanceof PermanentError ? error.code : null, message } };
  }
}

function run(request: ChunkRequest): Omit<ChunkReply, 'id'> {
  if (request.op === 'digest') return { digest: own(digestChunk(view(request.bytes))) };
  if (request.op === 'encode') {
    const { bytes, out } = request;
    const options = { frameSize: request.frameSize, level: request.level, ...sealOf(request) };
    const target = out === null ? Buffer.from(new ArrayBuffer(roomToEncode(bytes.length, options))) : view(out);
    const frames = encodeChunk(view(bytes), target, options);
    return out === null ? { frames, output: target } : { frames };
  }
  const { target } = request;
  const layout = { ...request.layout, ...sealOf(request.layout) };
  const output = target === null ? Buffer.from(new ArrayBuffer(layout.rawLength)) : view(target);
  const digest = own(decodeChunk(view(request.stored), output, layout));
  return target === null ? { digest, output } : { digest };
}

/** Buffers arrive as bare Uint8Arrays. */
function sealOf({ seal }: { seal?: ChunkSeal }): { seal?: ChunkSeal } {
  return seal === undefined ? {} : { seal: { ...seal, key: view(seal.key), aad: view(seal.aad) } };
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Not a view of a pool: cloning a view clones all of what it views. */
function own(digest: Buffer): Uint8Array {
  return new Uint8Array(digest);
}
