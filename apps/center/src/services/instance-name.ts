/** Names of instances: unique, for each is an export of its node. */
import { isId } from '@openservice/domain';
import type { EntityManager } from '@openservice/store';

/** Room for a number behind it. */
const LONGEST = 120;

/** `wanted` as it may be, or with the least number behind it that makes it unique now. */
export async function freeName(manager: EntityManager, wanted: string): Promise<string> {
  // In an export's name "/" stands before the number of a disk.
  const base = [...wanted.replaceAll('/', '-')].slice(0, LONGEST).join('').trim();
  const rows = await manager.query<{ name: string }[]>('SELECT name FROM cdm_instances WHERE name = ? OR name LIKE ?', [
    base,
    `${base.replaceAll(/[\\%_]/g, '\\$&')} %`,
  ]);
  const taken = new Set(rows.map((row) => row.name));
  if (!taken.has(base) && !isId('ins', base)) return base;
  let n = 2;
  while (taken.has(`${base} ${n}`)) n++;
  return `${base} ${n}`;
}
