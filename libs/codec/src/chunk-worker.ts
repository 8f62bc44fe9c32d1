/** A worker thread: answers each ChunkMessage with the ChunkReplies of its requests, in order. */
import { parentPort } from 'node:worker_threads';
import { PermanentError } from '@openservice/domain';
import { decodeChunk, digestChunk, encodeChunk } from './chunk-codec.ts';
import type { ChunkMessage, ChunkReply, ChunkRequest, ChunkWork } from './messages.ts';
import type { ChunkSeal } from './port.ts';
import { readCached } from './read-cached.ts';
import { roomToEncode } from './room.ts';
import { Shelf } from './shelf.ts';

if (parentPort === null) throw new Error('chunk-worker.ts runs as a worker thread only');
const port = parentPort;

const shelf = new Shelf();

port.on('message', ({ shelf: news, requests }: ChunkMessage) => {
  if (news !== undefined) shelf.take(news);
  const replies = requests.map(answer);
  const moved = replies.flatMap(({ output }) => (output === undefined ? [] : [output.buffer as ArrayBuffer]));
  port.postMessage(replies, moved);
});

function answer(request: ChunkRequest): ChunkReply {
  const { id } = request;
  try {
    return { id, ...run(request) };
  } catch (error) {
    const message = error instanceof Error ? error.message : String(error);
    return { id, failure: { code: error instanceof PermanentError ? error.code : null, message } };
  }
}

function run(request: ChunkWork): Omit<ChunkReply, 'id'> {
  if (request.op === 'digest') return { digest: own(digestChunk(shelf.bytes(request.bytes))) };
  if (request.op === 'read') {
    const into = shelf.bytes(request.into);
    return readCached(request.fd, into, request.offset) ? { digest: own(digestChunk(into)) } : {};
  }
  if (request.op === 'encode') {
    const bytes = shelf.bytes(request.bytes);
    const { out } = request;
    const options = { frameSize: request.frameSize, level: request.level, ...sealOf(request) };
    const target = out === null ? Buffer.from(new ArrayBuffer(roomToEncode(bytes.length, options))) : shelf.bytes(out);
    const frames = encodeChunk(bytes, target, options);
    return out === null ? { frames, output: target } : { frames };
  }
  const { target } = request;
  const layout = { ...request.layout, ...sealOf(request.layout) };
  const output = target === null ? Buffer.from(new ArrayBuffer(layout.rawLength)) : shelf.bytes(target);
  const digest = own(decodeChunk(shelf.bytes(request.stored), output, layout));
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
