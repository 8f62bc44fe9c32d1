/** An instance as the API shows it. */
import type { InstanceReport } from '@openservice/protocol';
import type { CdmInstance, CdmInstanceDisk } from '@openservice/store';

/**
 * `endpoint`: where its node serves NBD over TCP. `report`: what the node says of it now; without one the counters are null, and so is the
 * Unix socket, which is the node's to know.
 */
export function instanceView(
  instance: CdmInstance,
  disks: readonly CdmInstanceDisk[],
  endpoint: string | null,
  report: InstanceReport | null,
) {
  const told = new Map((report?.disks ?? []).map((disk) => [disk.index, disk]));
  return {
    id: instance.id,
    name: instance.name,
    node_id: instance.node_id,
    set_id: instance.set_id,
    state: isFailing(instance, report) ? ('error' as const) : instance.state,
    read_only: instance.read_only,
    disks: disks.map((disk) => {
      const live = told.get(disk.disk_index);
      const name = live?.exports[0] ?? exportName(instance.id, disk.disk_index, disks.length);
      return {
        index: disk.disk_index,
        block_id: disk.block_id,
        pool_id: disk.pool_id,
        uri: endpoint === null ? null : tcpUri(endpoint, name),
        unix_uri: live === undefined ? null : unixUri(live.socket, name),
        size: disk.size,
        overlay_bytes: live?.overlay_bytes ?? disk.overlay_bytes,
        bytes_read: live?.bytes_read ?? null,
        bytes_written: live?.bytes_written ?? null,
        connections: live?.connections ?? null,
      };
    }),
    error: errorOf(instance, report),
    created_at: instance.created_at.toISOString(),
  };
}

export type InstanceView = ReturnType<typeof instanceView>;

/** Seen by the node before its next sync tells of it. */
const isFailing = (instance: CdmInstance, report: InstanceReport | null): boolean =>
  instance.state === 'loaded' && report?.state === 'error';

function errorOf(instance: CdmInstance, report: InstanceReport | null): { code: string; message: string } | null {
  if (isFailing(instance, report)) return { code: 'instance_error', message: report?.message ?? '' };
  return instance.error_code === null ? null : { code: instance.error_code, message: instance.error_message ?? '' };
}

/** What every node calls the disk: the id of the instance, and where it has several disks the number of this one. */
function exportName(id: string, index: number, count: number): string {
  return count === 1 ? id : `${id}/${index}`;
}

const inPath = (name: string): string => name.split('/').map(encodeURIComponent).join('/');

const tcpUri = (endpoint: string, name: string): string => `${endpoint.replace(/\/+$/, '')}/${inPath(name)}`;

const unixUri = (socket: string, name: string): string => `nbd+unix:///${inPath(name)}?socket=${inPath(socket)}`;
