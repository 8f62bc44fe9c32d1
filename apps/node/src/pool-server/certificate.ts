/**
 * The certificate of the pool server: `<dataDir>/tls/cert.pem` and `key.pem`. Where neither is there a self-signed one is made; an operator
 * may put files of its own there instead. Clients pin its fingerprint, so a new one must be told to them.
 */
import { createHash, createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { generate } from 'selfsigned';

const YEARS = 10;

export interface Certificate {
  /** PEM; may be a chain. */
  cert: string;
  key: string;
  /** SHA-256 of the first certificate (DER), hex. */
  fingerprint: string;
}

/** PermanentError `bad_certificate` when the files do not fit each other, or one of them is missing. */
export async function loadCertificate(dataDir: string, nodeId: string): Promise<Certificate> {
  const dir = join(dataDir, 'tls');
  const paths = { cert: join(dir, 'cert.pem'), key: join(dir, 'key.pem') };
  const [cert, key] = [await readIfThere(paths.cert), await readIfThere(paths.key)];
  if (cert !== null && key !== null) return checked(cert, key, dir);
  if (cert !== null) throw bad(dir, 'key.pem is missing');
  // A key alone is of a start that was cut off before it had its certificate, or of an operator who forgot the other half.
  const made = await makeCertificate(nodeId);
  await mkdir(dir, { recursive: true, mode: 0o700 });
  await writeWhole(paths.key, made.key, 0o600);
  await writeWhole(paths.cert, made.cert, 0o644);
  return checked(made.cert, made.key, dir);
}

async function makeCertificate(nodeId: string): Promise<{ cert: string; key: string }> {
  const notAfterDate = new Date();
  notAfterDate.setFullYear(notAfterDate.getFullYear() + YEARS);
  const made = await generate([{ name: 'commonName', value: nodeId }], {
    keyType: 'ec',
    curve: 'P-256',
    algorithm: 'sha256',
    notAfterDate,
  });
  return { cert: made.cert, key: made.private };
}

function checked(cert: string, key: string, dir: string): Certificate {
  try {
    const first = new X509Certificate(cert);
    if (!first.checkPrivateKey(createPrivateKey(key))) throw bad(dir, 'the key is not that of the certificate');
    return { cert, key, fingerprint: createHash('sha256').update(first.raw).digest('hex') };
  } catch (cause) {
    if (cause instanceof PermanentError) throw cause;
    throw bad(dir, 'they are not PEM', cause);
  }
}

async function readIfThere(path: string): Promise<string | null> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

async function writeWhole(path: string, text: string, mode: number): Promise<void> {
  const file = await open(`${path}.new`, 'w', mode);
  try {
    await file.chmod(mode);
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(`${path}.new`, path);
}

function bad(dir: string, what: string, cause?: unknown): PermanentError {
  return new PermanentError(
    'bad_certificate',
    `The certificate of the pool server cannot be used: in ${dir}, ${what}. Put a matching cert.pem and key.pem there, or remove both.`,
    { cause },
  );
}
