import { canInstall, findBinary, installPackages } from '@openservice/servers';

/** The path of a peer's program; its package is installed where that can be done; null otherwise. */
export async function findPeer(
  program: string,
  debianPackage: string,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<string | null> {
  const found = findBinary(program);
  if (found !== undefined) return found;
  if (!canInstall()) return null;
  await installPackages([debianPackage], say, signal);
  return findBinary(program) ?? null;
}
