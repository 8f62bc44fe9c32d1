/** libnbd without its own checks sends what no client may send: each is answered with the right error, and the connection goes on. */
import { MemoryDevice } from '@openservice/nbd';
import { needsPeers } from '@openservice/testkit';
import { expect } from 'chai';
import { exportOf, run, type Served, serve } from './support/serve.ts';

const MIB = 1024 * 1024;
const SIZE = 4 * MIB + 517;

/** Python for nbdsh: each line of `trials` is a name and a call; prints the errno's name, or "done". */
const PRELUDE = `
import errno, json, os
h.set_strict_mode(0)
h.add_meta_context("base:allocation")
h.connect_uri(os.environ["URI"])
size = h.get_size()
told = {}
def trial(name, call):
    try:
        call()
        told[name] = "done"
    except nbd.Error as error:
        told[name] = error.errno or str(error)
    # The connection is whole.
    h.pread(512, 0)
`;

async function trials(uri: string, lines: string[]): Promise<Record<string, string>> {
  const script = `${PRELUDE}${lines.join('\n')}\nprint(json.dumps(told))\n`;
  return JSON.parse(await run('env', 'PATH=/usr/bin:/bin', `URI=${uri}`, 'nbdsh', '-c', script));
}

describe('NBD server and illegal requests', function () {
  this.timeout(60_000);
  let device: MemoryDevice;
  let other: MemoryDevice;
  let served: Served;

  before(needsPeers('nbdsh'));
  beforeEach(async () => {
    device = new MemoryDevice(SIZE);
    device.bytes.fill(3);
    other = new MemoryDevice(MIB);
    other.bytes.fill(5);
    served = await serve(device);
    served.exports.set('other', exportOf('other', other));
  });
  afterEach(() => served?.stop());

  it('answers each with the error that the protocol names, and stays usable', async () => {
    const told = await trials(served.uri, [
      'trial("read past the end", lambda: h.pread(512, size))',
      'trial("read over the end", lambda: h.pread(1024, size - 512))',
      'trial("read far away", lambda: h.pread(512, 2**62))',
      'trial("read of nothing", lambda: h.pread(0, 0))',
      'trial("read of too much", lambda: h.pread(33 * 1024 * 1024, 0))',
      'trial("read with an unknown flag", lambda: h.pread(512, 0, 1 << 9))',
      'trial("read with NO_HOLE", lambda: h.pread(512, 0, nbd.CMD_FLAG_NO_HOLE))',
      'trial("write past the end", lambda: h.pwrite(b"x" * 512, size))',
      'trial("write over the end", lambda: h.pwrite(b"x" * 1024, size - 512))',
      'trial("write of nothing", lambda: h.pwrite(b"", 0))',
      'trial("write of too much", lambda: h.pwrite(bytearray(33 * 1024 * 1024), 0))',
      'trial("write with an unknown flag", lambda: h.pwrite(b"x" * 512, 0, 1 << 9))',
      'trial("flush with FAST_ZERO", lambda: h.flush(nbd.CMD_FLAG_FAST_ZERO))',
      'trial("trim past the end", lambda: h.trim(512, size))',
      'trial("trim of nothing", lambda: h.trim(0, 0))',
      'trial("zero over the end", lambda: h.zero(1024, size - 512))',
      'trial("zero with DF", lambda: h.zero(512, 0, nbd.CMD_FLAG_DF))',
      'trial("cache past the end", lambda: h.cache(512, size))',
      'trial("status past the end", lambda: h.block_status(512, size, lambda *a: 0))',
      'trial("status of nothing", lambda: h.block_status(0, 0, lambda *a: 0))',
      'trial("a write that is well", lambda: h.pwrite(b"w" * 512, 0, nbd.CMD_FLAG_FUA))',
      'trial("a zero that is well", lambda: h.zero(512, 1024, nbd.CMD_FLAG_FAST_ZERO | nbd.CMD_FLAG_NO_HOLE))',
    ]);
    const invalid = Object.entries(told).filter(([, errno]) => errno === 'EINVAL');
    expect(Object.fromEntries(Object.entries(told).filter(([, errno]) => errno !== 'EINVAL'))).to.deep.equal({
      'write past the end': 'ENOSPC',
      'write over the end': 'ENOSPC',
      'zero over the end': 'ENOSPC',
      'a write that is well': 'done',
      'a zero that is well': 'done',
    });
    expect(invalid).to.have.length(17);
    const expected = Buffer.alloc(SIZE, 3).fill('w', 0, 512).fill(0, 1024, 1536);
    expect(device.bytes.equals(expected), 'nothing else was changed').to.equal(true);
    expect(other.bytes.every((byte) => byte === 5)).to.equal(true);
  });

  it('refuses to change a read-only disk in any way, with EPERM', async () => {
    const still = new MemoryDevice(MIB, { readOnly: true });
    still.bytes.fill(9);
    served.exports.set('still', exportOf('still', still));
    const told = await trials(served.uri.replace('/disk?', '/still?'), [
      'trial("write", lambda: h.pwrite(b"x" * 512, 0))',
      'trial("trim", lambda: h.trim(512, 0))',
      'trial("zero", lambda: h.zero(512, 0))',
      'trial("flush", lambda: h.flush())',
      'trial("read", lambda: h.pread(512, 0))',
    ]);
    expect(told).to.deep.equal({ write: 'EPERM', trim: 'EPERM', zero: 'EPERM', flush: 'done', read: 'done' });
    expect(still.bytes.every((byte) => byte === 9)).to.equal(true);
  });

  it('without structured replies the errors are the same', async () => {
    const script = PRELUDE.replace('h.set_strict_mode(0)', 'h.set_strict_mode(0)\nh.set_request_structured_replies(False)');
    const lines = ['trial("past", lambda: h.pread(512, size))', 'trial("df", lambda: h.pread(512, 0, nbd.CMD_FLAG_DF))'];
    const out = await run(
      'env',
      'PATH=/usr/bin:/bin',
      `URI=${served.uri}`,
      'nbdsh',
      '-c',
      `${script}${lines.join('\n')}\nprint(json.dumps(told))\n`,
    );
    expect(JSON.parse(out)).to.deep.equal({ past: 'EINVAL', df: 'EINVAL' });
  });
});
