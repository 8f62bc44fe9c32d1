/** Programs that tests talk to and that the product does not need: Debian packages, installed on demand where that can be done. */
import { canInstall, findBinary, installPackages } from '@openservice/servers';

/** A program, and the Debian package that brings it. */
const PEERS = {
  'qemu-nbd': 'qemu-utils',
  'qemu-img': 'qemu-utils',
  'qemu-io': 'qemu-utils',
  nbdkit: 'nbdkit',
  nbdinfo: 'libnbd-bin',
  nbdcopy: 'libnbd-bin',
  nbdsh: 'python3-libnbd',
  fio: 'fio',
  mke2fs: 'e2fsprogs',
  e2fsck: 'e2fsprogs',
  debugfs: 'e2fsprogs',
  openssl: 'openssl',
} as const;
export type Peer = keyof typeof PEERS;

/** Why a test that needs these programs cannot run here, or null: all are there, or were installed just now. */
export async function missingPeers(peers: readonly Peer[]): Promise<string | null> {
  const absent = () => peers.filter((peer) => findBinary(peer) === undefined);
  if (absent().length === 0) return null;
  const packages = [...new Set(absent().map((peer) => PEERS[peer]))];
  if (!canInstall()) return `needs ${absent().join(', ')} (Debian: ${packages.join(', ')}), and only root can install them`;
  try {
    await installPackages(packages, (line) => process.stdout.write(`${line}\n`));
  } catch (error) {
    return `needs ${absent().join(', ')}: ${error instanceof Error ? error.message : String(error)}`;
  }
  return absent().length === 0 ? null : `needs ${absent().join(', ')}, which ${packages.join(', ')} did not bring`;
}

/** For mocha's `before`: makes sure of the programs, or skips the suite's tests with the reason in their titles. */
export function needsPeers(...peers: Peer[]): (this: Mocha.Context) => Promise<void> {
  return async function before() {
    this.timeout(300_000);
    const reason = await missingPeers(peers);
    if (reason === null) return;
    this.test?.parent?.eachTest((test) => {
      test.title += ` (${reason})`;
    });
    this.skip();
  };
}
