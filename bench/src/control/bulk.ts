/** For a bulk load: indexes that are no keys are dropped before and made again after it, whatever came of it. */
import type { Pool, RowDataPacket } from 'mysql2/promise';

interface Index extends RowDataPacket {
  table_name: string;
  index_name: string;
  columns: string;
}

export async function withoutIndexes(database: Pool, tables: readonly string[], work: () => Promise<void>): Promise<void> {
  const [indexes] = await database.query<Index[]>(
    `SELECT table_name AS table_name, index_name AS index_name, GROUP_CONCAT(column_name ORDER BY seq_in_index) AS columns
     FROM information_schema.statistics WHERE table_schema = DATABASE() AND non_unique = 1 AND table_name IN (?)
     GROUP BY table_name, index_name`,
    [tables],
  );
  const change = async (how: (index: Index) => string): Promise<void> => {
    for (const [table, of] of Map.groupBy(indexes, ({ table_name }) => table_name)) {
      await database.query(`ALTER TABLE ${table} ${of.map(how).join(', ')}`);
    }
  };
  await change(({ index_name }) => `DROP INDEX ${index_name}`);
  try {
    await work();
  } finally {
    await change(({ index_name, columns }) => `ADD INDEX ${index_name} (${columns})`);
  }
}
