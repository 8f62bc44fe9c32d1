import { canInstall, findBinary, installPackages } from '@openservice/servers';

/** A program to be measured against, or the reason why it is not. */
export type Found<T> = { peer: T } | { peer: null; why: string };

/** The path of a peer's program; its package is installed where that can be done. */
export async function findPeer(
  program: string,
  debianPackage: string,
  say: (line: string) => void,
  signal: AbortSignal,
): Promise<Found<string>> {
  const there = findBinary(program);
  if (there !== undefined) return { peer: there };
  const missing = `${program} is not on this machine`;
  if (!canInstall())
    return { peer: null, why: `${missing}, and only root can install the package ${debianPackage} with apt-get` };
  try {
    await installPackages([debianPackage], say, signal);
  } catch (error) {
    signal.throwIfAborted();
    return { peer: null, why: `${missing}: ${error instanceof Error ? error.message : String(error)}` };
  }
  const installed = findBinary(program);
  if (installed === undefined) return { peer: null, why: `${missing} even after its package ${debianPackage} was installed` };
  return { peer: installed };
}
