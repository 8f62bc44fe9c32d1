/** Several disks stand still at once: what is under way on any of them has ended, and what comes waits, while `work` runs. */
import type { SwitchDevice } from '@openservice/nbd';

/** Gates are closed in their order, so that two who want the same ones do not wait for each other. */
export async function standstill(gates: readonly SwitchDevice[], work: () => Promise<void>): Promise<void> {
  const [gate, ...others] = gates;
  if (gate === undefined) return work();
  await gate.swap(async (target) => {
    await standstill(others, work);
    return target;
  });
}
