/** What every backend must do. Each driver's own test file runs it: `describeBackend('memory', async () => …)`. */
import { randomBytes } from 'node:crypto';
import { CancelledError, PermanentError } from '@openservice/domain';
import { type Backend, type ObjectInfo, ObjectNotFoundError } from '@openservice/pools';
import { expect } from 'chai';

export interface BackendUnderTest {
  /** Empty, or with a prefix of its own. */
  backend: Backend;
  /** Removes all that the test made. */
  destroy: () => Promise<void>;
}

export interface BackendSuiteOptions {
  /** Keys made to see that a list goes over a page's end; S3's pages hold 1,000. Default 1,100. */
  listed?: number;
  /** Times that each of several writers puts and removes an object. Default 5. */
  rounds?: number;
}

export function describeBackend(name: string, make: () => Promise<BackendUnderTest>, options: BackendSuiteOptions = {}): void {
  describe(`backend ${name}`, () => {
    const signal = new AbortController().signal;
    let place: BackendUnderTest;
    let backend: Backend;
    before(async () => {
      place = await make();
      backend = place.backend;
    });
    after(async () => {
      await place?.backend.close();
      await place?.destroy();
    });

    it('gives back what was put, of one part, of many, and of none', async () => {
      await backend.put('a/one', Buffer.from('hello'), signal);
      await backend.put('a/many', [Buffer.from('he'), Buffer.alloc(0), Buffer.from('llo')], signal);
      await backend.put('a/empty', Buffer.alloc(0), signal);
      expect((await backend.get('a/one', null, signal)).toString()).to.equal('hello');
      expect((await backend.get('a/many', null, signal)).toString()).to.equal('hello');
      expect((await backend.get('a/empty', null, signal)).length).to.equal(0);
      expect(await backend.head('a/many', signal)).to.equal(5);
      expect(await backend.head('a/empty', signal)).to.equal(0);
    });

    it('replaces an object as a whole', async () => {
      await backend.put('a/again', Buffer.from('a long first value'), signal);
      await backend.put('a/again', Buffer.from('short'), signal);
      expect((await backend.get('a/again', null, signal)).toString()).to.equal('short');
    });

    it('keeps 20 MiB in parts byte for byte and reads ranges of it', async () => {
      const parts = [randomBytes(9 << 20), randomBytes(7), randomBytes(11 << 20)];
      const whole = Buffer.concat(parts);
      const before = backend.bytesSent;
      await backend.put('big/object', parts, signal);
      expect(backend.bytesSent - before).to.be.at.least(whole.length);
      expect((await backend.get('big/object', null, signal)).equals(whole)).to.equal(true);
      const offset = (9 << 20) - 3;
      const range = await backend.get('big/object', { offset, length: 13 }, signal);
      expect(range.equals(whole.subarray(offset, offset + 13))).to.equal(true);
      await backend.remove('big/object', signal);
    });

    it('never answers fewer bytes than a range asks for', async () => {
      await backend.put('a/short', Buffer.from('12345'), signal);
      expect((await failure(backend.get('a/short', { offset: 2, length: 3 }, signal))) ?? 'fine').to.equal('fine');
      expect(await failure(backend.get('a/short', { offset: 2, length: 4 }, signal))).to.be.instanceOf(Error);
      expect(await failure(backend.get('a/short', { offset: 90, length: 1 }, signal))).to.be.instanceOf(Error);
    });

    it('says that an object is not there, and removes it without complaint', async () => {
      expect(await backend.head('no/such', signal)).to.equal(null);
      expect(await failure(backend.get('no/such', null, signal))).to.be.instanceOf(ObjectNotFoundError);
      expect(await failure(backend.get('no/such', { offset: 0, length: 1 }, signal))).to.be.instanceOf(ObjectNotFoundError);
      await backend.remove('no/such', signal);
    });

    it('removes', async () => {
      await backend.put('gone/x', Buffer.from('x'), signal);
      await backend.remove('gone/x', signal);
      expect(await backend.head('gone/x', signal)).to.equal(null);
      expect(await listed('gone/')).to.deep.equal([]);
      await backend.put('gone/x', Buffer.from('y'), signal);
      expect((await backend.get('gone/x', null, signal)).toString()).to.equal('y');
    });

    it('lists by prefix in the byte order of whole keys', async () => {
      const keys = ['l/a', 'l/a-b', 'l/a.c', 'l/a0', 'l/ab/1', 'l/ab/2', 'l/ab-1', 'l/ab.1', 'l/ab0', 'l/b/c/d', 'l/_', 'm/x'];
      for (const key of keys) await backend.put(key, Buffer.from(key), signal);
      const all = keys.filter((key) => key.startsWith('l/')).sort();
      expect(await listed('l/')).to.deep.equal(all);
      expect(await listed('l/ab')).to.deep.equal(all.filter((key) => key.startsWith('l/ab')));
      expect(await listed('l/ab/')).to.deep.equal(['l/ab/1', 'l/ab/2']);
      expect(await listed('l/b/c/d')).to.deep.equal(['l/b/c/d']);
      expect(await listed('nothing/')).to.deep.equal([]);
      const [first] = await objects('l/ab/');
      expect(first).to.deep.equal({ key: 'l/ab/1', size: 6 });
    });

    it('lists more than a page', async () => {
      const count = options.listed ?? 1100;
      const keys = Array.from({ length: count }, (_, i) => `page/${String(i).padStart(6, '0')}`);
      for (let i = 0; i < count; i += 32) {
        await Promise.all(keys.slice(i, i + 32).map((key) => backend.put(key, Buffer.from('.'), signal)));
      }
      expect(await listed('page/')).to.deep.equal(keys);
    }).timeout(120_000);

    it('puts only where nothing is', async () => {
      expect(await backend.putIfAbsent('once/a', Buffer.from('first'), signal)).to.equal(true);
      expect(await backend.putIfAbsent('once/a', Buffer.from('second'), signal)).to.equal(false);
      expect((await backend.get('once/a', null, signal)).toString()).to.equal('first');
      await backend.remove('once/a', signal);
      expect(await backend.putIfAbsent('once/a', Buffer.from('third'), signal)).to.equal(true);
    });

    it('lets exactly one of many that put at once have the key', async function () {
      if (backend.fencing === 'advisory') {
        console.log(`      skipped: ${backend.name} has no conditional write (fencing advisory)`);
        this.skip();
      }
      for (let round = 0; round < 5; round++) {
        const tries = Array.from({ length: 12 }, (_, i) => backend.putIfAbsent(`race/${round}`, Buffer.from(`w${i}`), signal));
        const won = await Promise.all(tries);
        expect(won.filter(Boolean)).to.have.length(1);
        expect((await backend.get(`race/${round}`, null, signal)).toString()).to.equal(`w${won.indexOf(true)}`);
      }
    });

    it('takes and removes objects beside others that do the same with their neighbours', async () => {
      const rounds = options.rounds ?? 5;
      const worker = async (name: number): Promise<void> => {
        for (let round = 0; round < rounds; round++) {
          const key = `beside/w${name}/x`;
          await backend.put(key, Buffer.from(`${round}`), signal);
          expect((await backend.get(key, null, signal)).toString()).to.equal(`${round}`);
          await backend.remove(key, signal);
          expect(await backend.putIfAbsent(key, Buffer.from('again'), signal)).to.equal(true);
          await backend.remove(key, signal);
        }
      };
      await Promise.all(Array.from({ length: 6 }, (_, i) => worker(i)));
      expect(await listed('beside/')).to.deep.equal([]);
    });

    it('refuses keys that are no keys', async () => {
      for (const key of ['', '/a', 'a/', 'a//b', '../up', 'a/../../b', '.', 'A', 'a b', 'a\0b', 'x'.repeat(513)]) {
        const error = await failure(backend.put(key, Buffer.from('x'), signal));
        expect(error, JSON.stringify(key)).to.be.instanceOf(PermanentError);
        expect((error as PermanentError).code).to.equal('invalid_key');
      }
    });

    it('does nothing once the signal has fired', async () => {
      const stopped = AbortSignal.abort();
      await backend.put('s/x', Buffer.from('x'), signal);
      const calls: Promise<unknown>[] = [
        backend.put('s/y', Buffer.from('y'), stopped),
        backend.putIfAbsent('s/y', Buffer.from('y'), stopped),
        backend.get('s/x', null, stopped),
        backend.head('s/x', stopped),
        backend.remove('s/x', stopped),
        (async () => {
          for await (const _ of backend.list('s/', stopped));
        })(),
      ];
      for (const error of await Promise.all(calls.map(failure))) expect(error).to.be.instanceOf(CancelledError);
      expect(await listed('s/')).to.deep.equal(['s/x']);
    });

    it('tells its room', async () => {
      const room = await backend.capacity(signal);
      if (room !== null) expect(room).to.be.greaterThan(0);
    });

    async function objects(prefix: string): Promise<ObjectInfo[]> {
      const found: ObjectInfo[] = [];
      for await (const info of backend.list(prefix, signal)) found.push(info);
      return found;
    }

    async function listed(prefix: string): Promise<string[]> {
      return (await objects(prefix)).map((info) => info.key);
    }
  });
}

/** What the call was rejected with, or null. */
async function failure(call: Promise<unknown>): Promise<unknown> {
  return call.then(
    () => null,
    (error: unknown) => error,
  );
}
