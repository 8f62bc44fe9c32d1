import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { PermanentError } from '@openservice/domain';
import { expect } from 'chai';
import { createSecrets, loadSecrets } from '../src/secrets.ts';

describe('secrets', () => {
  let dir: string;
  before(async () => {
    dir = await mkdtemp(join(tmpdir(), 'openservice-secrets-'));
  });
  after(() => rm(dir, { recursive: true, force: true }));

  const codeOf = (work: () => unknown): string => {
    try {
      work();
    } catch (error) {
      return (error as PermanentError).code;
    }
    return 'nothing was thrown';
  };

  it('come back as they went in, sealed differently each time', () => {
    const secrets = createSecrets(new Uint8Array(32).fill(7));
    const [a, b] = [secrets.seal('密码 s3cr3t'), secrets.seal('密码 s3cr3t')];
    expect(a).not.to.equal(b);
    expect(a).not.to.include('s3cr3t');
    expect(secrets.open(a)).to.equal('密码 s3cr3t');
    expect(secrets.open(secrets.seal(''))).to.equal('');
  });

  it('are refused under another key, or changed, or when they are none', () => {
    const secrets = createSecrets(new Uint8Array(32).fill(7));
    const sealed = secrets.seal('x');
    expect(codeOf(() => createSecrets(new Uint8Array(32)).open(sealed))).to.equal('secret_unreadable');
    expect(codeOf(() => secrets.open(`${sealed.slice(0, -2)}AA`))).to.equal('secret_unreadable');
    expect(codeOf(() => secrets.open('plain'))).to.equal('secret_unreadable');
    expect(codeOf(() => createSecrets(new Uint8Array(31)))).to.equal('bad_master_key');
  });

  it('share one key file that only its owner may read, however many centers start at once', async () => {
    const all = await Promise.all(Array.from({ length: 8 }, () => loadSecrets(dir)));
    const sealed = all[0]?.seal('same') ?? '';
    for (const secrets of all) expect(secrets.open(sealed)).to.equal('same');
    expect((await stat(join(dir, 'master.key'))).mode & 0o777).to.equal(0o600);
    expect(await readFile(join(dir, 'master.key'))).to.have.length(32);
    const named = await loadSecrets(join(dir, 'other'), (await readFile(join(dir, 'master.key'))).toString('hex'));
    expect(named.open(sealed)).to.equal('same');
  });
});
