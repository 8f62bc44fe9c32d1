/** What a server tells of an export. */
import type { BlockDevice } from '../device.ts';
import { ALLOCATION } from '../wire.ts';
import type { NbdExport } from './exports.ts';
import { ALLOCATION_ID, EXPORT_FLAG, INFO_TYPE, MAX_PAYLOAD, PREFERRED_BLOCK } from './numbers.ts';

/** Writes count for all connections once they are flushed on one of them: a device has one state, so MULTI_CONN holds. */
export function exportFlags(device: BlockDevice, structured: boolean): number {
  const { hasFlags, flush, fua, multiConn, cache, df, readOnly, trim, writeZeroes, fastZero } = EXPORT_FLAG;
  const always = hasFlags | flush | fua | multiConn | cache | (structured ? df : 0);
  return device.readOnly ? always | readOnly : always | trim | writeZeroes | fastZero;
}

/** The data of an INFO reply; null for a kind that is not known. */
export function exportInfo(type: number, found: NbdExport, structured: boolean): Buffer | null {
  if (type === INFO_TYPE.export) {
    const data = Buffer.alloc(12);
    data.writeUInt16BE(type, 0);
    data.writeBigUInt64BE(BigInt(found.device.size), 2);
    data.writeUInt16BE(exportFlags(found.device, structured), 10);
    return data;
  }
  if (type === INFO_TYPE.blockSize) {
    const data = Buffer.alloc(14);
    data.writeUInt16BE(type, 0);
    data.writeUInt32BE(1, 2);
    data.writeUInt32BE(PREFERRED_BLOCK, 6);
    data.writeUInt32BE(MAX_PAYLOAD, 10);
    return data;
  }
  if (type === INFO_TYPE.name) return withType(type, found.name);
  if (type === INFO_TYPE.description && found.description !== '') return withType(type, found.description);
  return null;
}

/** One line of LIST. */
export function serverReply(name: string, description: string): Buffer {
  const bytes = Buffer.from(name);
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes, Buffer.from(description)]);
}

/** In answer to LIST the id says nothing and is 0. */
export function metaContextReply(chosen: boolean): Buffer {
  const id = Buffer.alloc(4);
  id.writeUInt32BE(chosen ? ALLOCATION_ID : 0);
  return Buffer.concat([id, Buffer.from(ALLOCATION)]);
}

function withType(type: number, text: string): Buffer {
  const head = Buffer.alloc(2);
  head.writeUInt16BE(type);
  return Buffer.concat([head, Buffer.from(text)]);
}
