import { randomBytes } from 'node:crypto';
import { appendFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MIB, type OpenServiceError } from '@openservice/domain';
import { tempDir } from '@openservice/testkit';
import { expect } from 'chai';
import { type ContentOffsetError, ContentStore } from '../src/content/content-store.ts';

const signal = new AbortController().signal;

async function* pieces(...parts: (Buffer | Error)[]): AsyncGenerator<Buffer> {
  for (const part of parts) {
    if (part instanceof Error) throw part;
    yield part;
  }
}

describe('the store of uploads', () => {
  let dir: ReturnType<typeof tempDir>;
  let store: ContentStore;
  beforeEach(() => {
    dir = tempDir();
    store = new ContentStore(join(dir.path, 'content'));
  });
  afterEach(() => dir.remove());

  const failure = async (call: Promise<unknown>): Promise<OpenServiceError> => {
    const error = await call.then(
      () => null,
      (thrown: unknown) => thrown as OpenServiceError,
    );
    if (error === null) throw new Error('it was not refused');
    return error;
  };
  const read = async (blockId: string): Promise<Buffer> => {
    const { handle, size } = await store.open(blockId);
    try {
      const bytes = await handle.readFile();
      expect(bytes.length).to.equal(size);
      return bytes;
    } finally {
      await handle.close();
    }
  };

  it('takes content in pieces that begin and end anywhere, and gives it back', async () => {
    const whole = randomBytes(3 * MIB + 77);
    const total = whole.length;
    let offset = 0;
    for (const end of [1, 5000, MIB + 3, total]) {
      const part = whole.subarray(offset, end);
      offset = await store.append('block-1', { offset, total }, pieces(part.subarray(0, 3000), part.subarray(3000)), signal);
      expect(offset).to.equal(end);
      expect(await new ContentStore(join(dir.path, 'content')).offset('block-1')).to.equal(end);
    }
    expect((await read('block-1')).equals(whole)).to.equal(true);
  });

  it('knows nothing of a block that nobody sent, and refuses to open what is not whole', async () => {
    expect(await store.offset('block-1')).to.equal(0);
    expect((await failure(store.open('block-1'))).code).to.equal('content_not_found');
    await store.append('block-1', { offset: 0, total: 10 }, pieces(Buffer.from('half')), signal);
    expect((await failure(store.open('block-1'))).code).to.equal('content_incomplete');
  });

  it('keeps zeros as holes', async () => {
    const total = 64 * MIB;
    const data = randomBytes(4096);
    await store.append('block-1', { offset: 0, total }, pieces(data, ...Array<Buffer>(63).fill(Buffer.alloc(MIB))), signal);
    const offset = await store.offset('block-1');
    const rest = Buffer.alloc(total - offset);
    await store.append('block-1', { offset, total }, pieces(rest), signal);
    const { blocks, size } = await stat(join(dir.path, 'content', 'block-1.content'));
    expect(size).to.equal(total);
    expect(blocks * 512).to.be.lessThan(MIB);
    const bytes = await read('block-1');
    expect(bytes.equals(Buffer.concat([data, Buffer.alloc(total - data.length)]))).to.equal(true);
  });

  it('says where to go on when a piece begins elsewhere, and changes nothing', async () => {
    await store.append('block-1', { offset: 0, total: 10 }, pieces(Buffer.from('01234')), signal);
    for (const offset of [0, 4, 6, 10]) {
      const error = (await failure(
        store.append('block-1', { offset, total: 10 }, pieces(Buffer.from('x')), signal),
      )) as ContentOffsetError;
      expect(error.code).to.equal('content_offset_mismatch');
      expect(error.offset).to.equal(5);
    }
    await store.append('block-1', { offset: 5, total: 10 }, pieces(Buffer.from('56789')), signal);
    expect((await read('block-1')).toString()).to.equal('0123456789');
  });

  it('counts what came of a piece that broke off', async () => {
    const broken = pieces(Buffer.from('abc'), new Error('the client is gone'));
    expect((await failure(store.append('block-1', { offset: 0, total: 6 }, broken, signal))).message).to.contain('gone');
    expect(await store.offset('block-1')).to.equal(3);
    await store.append('block-1', { offset: 3, total: 6 }, pieces(Buffer.from('def')), signal);
    expect((await read('block-1')).toString()).to.equal('abcdef');
  });

  it('cuts away what a crash left past the durable offset', async () => {
    await store.append('block-1', { offset: 0, total: 8192 }, pieces(Buffer.alloc(4096, 1)), signal);
    await appendFile(join(dir.path, 'content', 'block-1.content'), Buffer.alloc(3000, 0xee));
    const next = new ContentStore(join(dir.path, 'content'));
    expect(await next.offset('block-1')).to.equal(4096);
    await next.append('block-1', { offset: 4096, total: 8192 }, pieces(Buffer.alloc(4096)), signal);
    const bytes = await read('block-1');
    expect(bytes.subarray(4096).every((byte) => byte === 0)).to.equal(true);
  });

  it('refuses more than the whole, another whole, and numbers that cannot be', async () => {
    expect((await failure(store.append('block-1', { offset: 0, total: 3 }, pieces(Buffer.from('1234')), signal))).code).to.equal(
      'content_range_invalid',
    );
    await store.append('block-1', { offset: 0, total: 3 }, pieces(Buffer.from('1')), signal);
    expect((await failure(store.append('block-1', { offset: 1, total: 4 }, pieces(), signal))).code).to.equal(
      'content_total_mismatch',
    );
    for (const range of [
      { offset: -1, total: 3 },
      { offset: 4, total: 3 },
      { offset: 0, total: 2 ** 60 },
      { offset: 0.5, total: 3 },
    ]) {
      expect((await failure(store.append('block-2', range, pieces(), signal))).code).to.equal('content_range_invalid');
    }
  });

  it('lets one piece of a block in at a time, and other blocks beside it', async () => {
    let go = (): void => undefined;
    const waiting = new Promise<void>((resolve) => {
      go = resolve;
    });
    const slow = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from('ab');
      await waiting;
      yield Buffer.from('cd');
    };
    const first = store.append('block-1', { offset: 0, total: 4 }, slow(), signal);
    expect((await failure(store.append('block-1', { offset: 0, total: 4 }, pieces(Buffer.from('abcd')), signal))).code).to.equal(
      'content_busy',
    );
    expect((await failure(store.drop('block-1'))).code).to.equal('content_busy');
    expect(await store.append('block-2', { offset: 0, total: 1 }, pieces(Buffer.from('x')), signal)).to.equal(1);
    go();
    expect(await first).to.equal(4);
  });

  it('stops when it is told to, and keeps what it had', async () => {
    const control = new AbortController();
    const stopping = async function* (): AsyncGenerator<Buffer> {
      yield Buffer.from('ab');
      control.abort();
      yield Buffer.from('cd');
    };
    const error = await failure(store.append('block-1', { offset: 0, total: 4 }, stopping(), control.signal));
    expect(error.code).to.equal('cancelled');
    expect(await store.offset('block-1')).to.equal(2);
  });

  it('drops all of a block, again without complaint', async () => {
    await store.drop('block-1');
    await store.append('block-1', { offset: 0, total: 1 }, pieces(Buffer.from('x')), signal);
    await store.drop('block-1');
    await store.drop('block-1');
    expect(await readdir(join(dir.path, 'content'))).to.deep.equal([]);
    expect(await store.offset('block-1')).to.equal(0);
  });

  it('names a damaged state, and an id that is none', async () => {
    await store.append('block-1', { offset: 0, total: 1 }, pieces(Buffer.from('x')), signal);
    await writeFile(join(dir.path, 'content', 'block-1.state'), '{"v":1');
    expect((await failure(store.offset('block-1'))).code).to.equal('content_damaged');
    for (const id of ['../x', 'a/b', '', '.', 'A']) expect((await failure(store.offset(id))).code).to.equal('invalid_block');
  });
});
