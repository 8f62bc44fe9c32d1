/** A process of its own that serves a disk over a base of zeros and ones: to be killed. Arguments: socket, folder, size. */
import { LayeredDisk, MemoryDevice, NbdServer, newCounters } from '@openservice/nbd';

const [socket, folder, size] = process.argv.slice(2) as [string, string, string];
const base = new MemoryDevice(Number(size), { readOnly: true });
base.bytes.fill(1, 0, Math.floor(Number(size) / 2));
const device = await LayeredDisk.open(folder, base);
const served = { name: 'disk', description: '', device, counters: newCounters() };
const server = new NbdServer({ socket, exports: { find: (name) => (name === 'disk' ? served : null), list: () => [served] } });
await server.start();
process.stdout.write('ready\n');
