/** Columns as wide as their widest cell; numbers stand to the right. */
export function table(title: string, rows: readonly (readonly [string, ...(string | number)[]])[]): string {
  if (rows.length === 0) return `${title}: none\n`;
  const widths = rows[0]?.map((_, i) => Math.max(...rows.map((row) => String(row[i] ?? '').length))) ?? [];
  const line = (row: readonly (string | number)[]) =>
    row
      .map((cell, i) => (typeof cell === 'number' ? String(cell).padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)))
      .join('  ');
  return `${title}\n${rows.map((row) => `  ${line(row).trimEnd()}`).join('\n')}\n`;
}

export function counted(words: Iterable<string>): [string, number][] {
  const counts = new Map<string, number>();
  for (const word of words) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => a.localeCompare(b));
}
