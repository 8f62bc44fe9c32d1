import { createPublicKey } from 'node:crypto';
import type { PermanentError } from '@openservice/domain';
import { POOL_TOKEN_MS, readPoolToken, tokenAllows } from '@openservice/protocol';
import { expect } from 'chai';
import { exportPoolKey, importPoolKey, newPoolKey } from '../src/pool-keys.ts';
import { poolTokens } from '../src/pool-tokens.ts';
import { createSecrets } from '../src/secrets.ts';

describe('pool keys', () => {
  const codeOf = (work: Promise<unknown>): Promise<string> =>
    work.then(
      () => 'nothing was thrown',
      (error: PermanentError) => error.code,
    );

  it('come out of an export as they went in, which is another text each time', async () => {
    const key = newPoolKey();
    const [a, b] = [await exportPoolKey(key, 'naïve pass'), await exportPoolKey(key, 'naïve pass')];
    expect(a).not.to.equal(b);
    expect(await importPoolKey(` ${a}\n`, 'nai\u0308ve pass'), 'as another keyboard writes it').to.equal(key);
    expect(await importPoolKey(b, 'naïve pass')).to.equal(key);
  });

  it('are those that the documented layout says', async () => {
    // Made by another program: Python's hashlib.scrypt, and AESGCM of its package cryptography.
    const exported =
      'ospk1.AAECAwQFBgcICQoLDA0OD2RlZmdoaWprbG1ub5bibrKkz3z3FMSz3G9z8UClR9df4Kfqk0w1WPECUacpxKgylyXR7Qe7G9gUSzDOfQ';
    expect(await importPoolKey(exported, 'correct horse')).to.equal('00112233445566778899aabbccddeeff'.repeat(2));
  });

  it('stay closed to another passphrase, and where a byte was changed', async () => {
    const exported = await exportPoolKey(newPoolKey(), 'right one');
    expect(await codeOf(importPoolKey(exported, 'wrong one'))).to.equal('wrong_passphrase');
    for (const at of [8, 25, 40, exported.length - 2]) {
      const changed = `${exported.slice(0, at)}${exported[at] === 'A' ? 'B' : 'A'}${exported.slice(at + 1)}`;
      expect(await codeOf(importPoolKey(changed, 'right one')), `at ${at}`).to.equal('wrong_passphrase');
    }
    for (const none of ['', 'ospk1', exported.slice(0, -1), exported.replace('ospk1', 'ospk2'), `${exported}.x`]) {
      expect(await codeOf(importPoolKey(none, 'right one')), none).to.equal('bad_pool_key');
    }
  });
});

describe('tokens for pool servers', () => {
  const master = new Uint8Array(32).fill(7);
  const keyOf = (spki: string) => createPublicKey({ key: Buffer.from(spki, 'base64'), format: 'der', type: 'spki' });

  it('of one center are read with the key that another with the same master key tells', () => {
    const [one, two] = [poolTokens(createSecrets(master)), poolTokens(createSecrets(master))];
    expect(one.publicKey).to.equal(two.publicKey);
    const { token, expires_in_ms } = one.sign({ pool: 'pool-1', block: 'block-1', right: 'write' });
    expect(expires_in_ms).to.equal(POOL_TOKEN_MS);
    const read = readPoolToken(token, keyOf(two.publicKey), Date.now());
    expect(tokenAllows(read, 'pool-1', 'block-1', 'write')).to.equal(true);
    expect(tokenAllows(read, 'pool-1', 'block-1', 'manage')).to.equal(false);
    expect(read.exp - Date.now()).to.be.closeTo(POOL_TOKEN_MS, 5_000);
    expect(() => readPoolToken(token, keyOf(two.publicKey), read.exp)).to.throw('expired');
  });

  it('of a center with another master key are refused', () => {
    const { token } = poolTokens(createSecrets(new Uint8Array(32))).sign({ pool: 'p', block: null, right: 'read' });
    expect(() => readPoolToken(token, keyOf(poolTokens(createSecrets(master)).publicKey), Date.now())).to.throw('not signed');
  });
});
