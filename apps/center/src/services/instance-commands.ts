/** Lines that a person pastes into a shell to use a disk; the clients' versions are those of Debian 12. */
import type { InstanceView } from './instance-view.ts';

/** Where a client finds, as ca-cert.pem, the authority that vouches for a node that demands TLS. */
const PKI = 'pki';
const TLS_OBJECT = `tls-creds-x509,id=tls0,endpoint=client,dir=${PKI}`;

type Disk = Pick<InstanceView['disks'][number], 'index' | 'uri' | 'unix_uri'>;

interface Place {
  /** As libnbd takes it. */
  uri: string;
  export: string;
  /** Of nbd-client. */
  server: string;
  /** Of qemu, where it takes no URI: it has none for TLS. */
  tls: { host: string; port: string } | null;
}

/** `tcp` null: the node serves none. `unix` null: the node did not answer. */
export function commandsOf(view: Pick<InstanceView, 'name' | 'read_only' | 'disks'>) {
  return view.disks.map((disk) => {
    const name = fileName(view.name, disk, view.disks.length);
    const write = (place: Place) => lines(place, `/dev/nbd${disk.index}`, name, view.read_only);
    return {
      index: disk.index,
      tcp: disk.uri === null ? null : write(overTcp(disk.uri)),
      unix: disk.unix_uri === null ? null : write(overUnix(disk.unix_uri)),
    };
  });
}

function lines(at: Place, device: string, name: string, readOnly: boolean) {
  const ro = readOnly ? ',readonly=on' : '';
  return {
    nbdinfo: `nbdinfo ${quoted(at.uri)}`,
    nbd_client: `modprobe nbd && nbd-client ${at.server} ${device} -name ${quoted(at.export)} -block-size 512${readOnly ? ' -readonly' : ''}`,
    qemu:
      at.tls === null
        ? `qemu-system-x86_64 -m 2048 -drive ${quoted(`file=${at.uri.replaceAll(',', ',,')},format=raw,if=virtio${ro}`)}`
        : `qemu-system-x86_64 -m 2048 -object ${TLS_OBJECT} -drive ${quoted(`${qemuOptions(at, at.tls, 'file.')},format=raw,if=virtio${ro}`)}`,
    qemu_img:
      at.tls === null
        ? `qemu-img convert -p -f raw -O qcow2 ${quoted(at.uri)} ${quoted(`${name}.qcow2`)}`
        : `qemu-img convert -p --object ${TLS_OBJECT} --image-opts -O qcow2 ${quoted(qemuOptions(at, at.tls, ''))} ${quoted(`${name}.qcow2`)}`,
    nbdfuse: `mkdir -p ${quoted(name)} && nbdfuse ${readOnly ? '-r ' : ''}${quoted(`${name}/disk.img`)} ${quoted(at.uri)} &`,
    guestfish: at.tls === null ? `guestfish ${readOnly ? '--ro' : '--rw'} --format=raw -a ${quoted(at.uri)} -i` : null,
  };
}

function overTcp(uri: string): Place {
  const { protocol, hostname, port, pathname } = new URL(uri);
  const host = hostname.replaceAll(/[[\]]/g, '');
  const isTls = protocol === 'nbds:';
  const at = { host, port: port === '' ? '10809' : port };
  const tls = isTls ? ` -cacertfile ${PKI}/ca-cert.pem -tlshostname ${quoted(host)}` : '';
  return {
    uri: isTls ? `${uri}?tls-certificates=${PKI}` : uri,
    export: decodeURIComponent(pathname.slice(1)),
    server: `${quoted(at.host)} ${at.port}${tls}`,
    tls: isTls ? at : null,
  };
}

function overUnix(uri: string): Place {
  const { pathname, searchParams } = new URL(uri);
  return {
    uri,
    export: decodeURIComponent(pathname.slice(1)),
    server: `-unix ${quoted(searchParams.get('socket') ?? '')}`,
    tls: null,
  };
}

function qemuOptions(at: Place, { host, port }: { host: string; port: string }, prefix: string): string {
  const options = { driver: 'nbd', host, port, export: at.export, 'tls-creds': 'tls0' };
  return Object.entries(options)
    .map(([key, value]) => `${prefix}${key}=${value.replaceAll(',', ',,')}`)
    .join(',');
}

/** Of a file or directory here, named as the instance where its name allows. */
function fileName(name: string, disk: Disk, count: number): string {
  const plain = name.replaceAll(/[^\p{L}\p{N}._ -]/gu, '-').replace(/^[-.]+/, '');
  const base = plain === '' ? 'disk' : plain;
  return count === 1 ? base : `${base}-${disk.index}`;
}

/** One word of a POSIX shell. */
function quoted(text: string): string {
  return /^[A-Za-z0-9._:/+-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}
