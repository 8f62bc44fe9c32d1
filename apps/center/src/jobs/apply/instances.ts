/** What jobs on instances share. */
import type { CdmInstance, EntityManager } from '@openservice/store';

type InstanceRow = Pick<CdmInstance, 'id' | 'name' | 'state'>;

/** The instance's row, locked; null when it was forgotten meanwhile. */
export async function lockInstanceRow(manager: EntityManager, id: string): Promise<InstanceRow | null> {
  const [row] = await manager.query<InstanceRow[]>('SELECT id, name, state FROM cdm_instances WHERE id = ? FOR UPDATE', [id]);
  return row ?? null;
}

/** Why a job on the instance cannot be done again; null when it can. */
export async function notLoaded(manager: EntityManager, id: string): Promise<string | null> {
  const row = await lockInstanceRow(manager, id);
  return row?.state === 'loaded' ? null : `instance ${id} is ${row?.state ?? 'gone'}, not loaded.`;
}

/** It is as well as it was; what went wrong last stands with it until the next success. */
export async function noteInstanceFailure(
  manager: EntityManager,
  id: string,
  kind: string,
  error: { code: string; message: string },
): Promise<void> {
  if (error.code === 'cancelled') return;
  await manager.query(
    "UPDATE cdm_instances SET error_code = ?, error_message = ? WHERE id = ? AND state IN ('loaded', 'removing')",
    [`${kind}_failed`, `${error.code}: ${error.message}`.slice(0, 2000), id],
  );
}

export async function clearInstanceFailure(manager: EntityManager, id: string): Promise<void> {
  await manager.query("UPDATE cdm_instances SET error_code = NULL, error_message = NULL WHERE id = ? AND state = 'loaded'", [id]);
}
