/** `Content-Range: bytes first-last/total` of a piece that a client sends. */
import type { Piece } from './content-transfer.ts';
import { invalidRequest } from './refusal.ts';

const FORM = /^bytes (\d{1,16})-(\d{1,16})\/(\d{1,16})$/;

/** Without the header, the whole of it. `length`: the request's Content-Length, null where it has none. */
export function pieceOf(range: string | undefined, length: number | null, size: number): Piece {
  const piece = range === undefined ? { offset: 0, length: size, total: size } : parsed(range);
  if (piece.total !== size) throw bad('Content-Range', `the block has ${size} bytes, not ${piece.total}`);
  if (piece.length < 1 || piece.offset + piece.length > size)
    throw bad('Content-Range', `names no bytes of the ${size} there are`);
  if (length !== null && length !== piece.length) {
    const what = range === undefined ? 'the whole block: for a piece send Content-Range' : 'what Content-Range names';
    throw bad('Content-Length', `is ${length}, but must be ${piece.length}, ${what}`);
  }
  return piece;
}

function parsed(range: string): Piece {
  const [, first, last, total] = FORM.exec(range) ?? [];
  if (first === undefined) throw bad('Content-Range', 'must be of the form "bytes first-last/total"');
  return { offset: Number(first), length: Number(last) - Number(first) + 1, total: Number(total) };
}

function bad(header: string, message: string): Error {
  return invalidRequest([{ path: `header.${header}`, message }]);
}
