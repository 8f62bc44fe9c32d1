/** A certificate for localhost and the authority that clients trust it by, as libnbd wants them: ca-cert.pem in a folder. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export function makeCertificate(dir: string): { key: string; cert: string; clientDir: string } {
  const [keyPath, certPath] = [join(dir, 'server-key.pem'), join(dir, 'server-cert.pem')];
  const config = ['-newkey', 'rsa:2048', '-nodes', '-days', '2', '-keyout', keyPath, '-out', certPath];
  const names = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
  execFileSync('openssl', ['req', '-x509', ...config, ...names], { stdio: 'ignore' });
  const cert = readFileSync(certPath, 'utf8');
  const clientDir = join(dir, 'pki');
  mkdirSync(clientDir);
  writeFileSync(join(clientDir, 'ca-cert.pem'), cert);
  return { key: readFileSync(keyPath, 'utf8'), cert, clientDir };
}
