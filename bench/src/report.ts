import { arch, cpus, release, totalmem, type } from 'node:os';
import { formatTable } from '@openservice/stack/demo/table';
import type { Row } from './row.ts';

export interface Machine {
  cpu: string;
  cores: number;
  memory_bytes: number;
  os: string;
  node: string;
}

export function machine(): Machine {
  const cores = cpus();
  return {
    cpu: cores[0]?.model.trim() ?? 'unknown',
    cores: cores.length,
    memory_bytes: totalmem(),
    os: `${type()} ${release()} ${arch()}`,
    node: process.version,
  };
}

export function report(rows: readonly Row[]): string {
  const number = (value: number | null): string => (value === null ? '-' : value.toFixed(value < 10 ? 2 : 1));
  return formatTable(
    [
      { title: 'what' },
      { title: 'unit' },
      { title: 'ours', align: 'right' },
      { title: 'peer', align: 'right' },
      { title: 'ratio', align: 'right' },
      { title: 'goal' },
      { title: 'ok' },
      { title: 'note' },
    ],
    rows.map((row) => [
      row.name,
      row.unit,
      number(row.ours),
      number(row.peer),
      number(row.ratio),
      row.goal,
      !row.ok ? 'NO' : row.ours === null ? 'skip' : 'yes',
      row.note ?? '',
    ]),
  );
}
