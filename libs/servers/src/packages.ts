import { spawn } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { PermanentError } from '@openservice/domain';
import { findBinary } from './paths.ts';

/** Whether Debian's or Ubuntu's packages can be installed here: apt-get is there and we are root. */
export function canInstall(): boolean {
  return process.getuid?.() === 0 && findBinary('apt-get') !== undefined;
}

const NO_SERVICES = '/usr/sbin/policy-rc.d';

function run(command: string, args: string[], signal?: AbortSignal): Promise<{ code: number | null; output: string }> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
      stdio: ['ignore', 'pipe', 'pipe'],
      ...(signal === undefined ? {} : { signal }),
    });
    let output = '';
    const keep = (part: Buffer) => {
      output = (output + part.toString()).slice(-4000);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', keep);
    child.once('error', reject);
    child.once('close', (code) => resolve({ code, output }));
  });
}

/** Installs packages without starting their services. Throws PermanentError `install_failed` with apt's last words. */
export async function installPackages(packages: string[], log: (line: string) => void, signal?: AbortSignal): Promise<void> {
  const since = Date.now();
  log(`Installing ${packages.join(', ')} with apt-get …`);
  // policy-rc.d is Debian's own way to say that a package's service is not to be started.
  const placed = !existsSync(NO_SERVICES);
  if (placed) writeFileSync(NO_SERVICES, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    const wait = ['-o', 'DPkg::Lock::Timeout=300', '-q'];
    const update = await run('apt-get', [...wait, 'update'], signal);
    const install = await run('apt-get', [...wait, 'install', '-y', '--no-install-recommends', ...packages], signal);
    if (install.code !== 0) {
      const words = (update.code === 0 ? install.output : update.output).trim().split('\n').slice(-3).join(' | ');
      throw new PermanentError('install_failed', `apt-get could not install ${packages.join(', ')}: ${words}`);
    }
  } finally {
    if (placed) rmSync(NO_SERVICES, { force: true });
  }
  log(`Installed ${packages.join(', ')} in ${((Date.now() - since) / 1000).toFixed(0)} s.`);
}
