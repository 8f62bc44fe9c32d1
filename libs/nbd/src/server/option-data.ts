/** What stands in a client's options. Null for data that is not what the option wants. */
import { MAX_NAME } from './numbers.ts';

export interface GoData {
  name: string;
  infos: number[];
}

export interface MetaContextData {
  name: string;
  queries: string[];
}

/** INFO and GO: length of the name u32, name, count u16, that many kinds of information u16. */
export function readGo(data: Buffer): GoData | null {
  const named = readSized(data, 0);
  if (named === null || named.end + 2 > data.length) return null;
  const count = data.readUInt16BE(named.end);
  if (named.end + 2 + count * 2 !== data.length) return null;
  const infos: number[] = [];
  for (let i = 0; i < count; i++) infos.push(data.readUInt16BE(named.end + 2 + i * 2));
  return { name: named.text, infos };
}

/** LIST and SET_META_CONTEXT: name, count u32, that many queries, each with its length u32. */
export function readMetaContext(data: Buffer): MetaContextData | null {
  const named = readSized(data, 0);
  if (named === null || named.end + 4 > data.length) return null;
  const count = data.readUInt32BE(named.end);
  const queries: string[] = [];
  let at = named.end + 4;
  for (let i = 0; i < count; i++) {
    const query = readSized(data, at);
    if (query === null) return null;
    queries.push(query.text);
    at = query.end;
  }
  return at === data.length ? { name: named.text, queries } : null;
}

function readSized(data: Buffer, at: number): { text: string; end: number } | null {
  if (at + 4 > data.length) return null;
  const length = data.readUInt32BE(at);
  if (length > MAX_NAME || at + 4 + length > data.length) return null;
  const end = at + 4 + length;
  return { text: data.toString('utf8', at + 4, end), end };
}
