/** What the bench reports: one row a claim, both sides of the ratio in it. */
export interface Row {
  name: string;
  unit: string;
  /** Median of the repetitions; null: skipped, `note` says why. */
  ours: number | null;
  /** The same of what we are measured against; null where the goal is absolute. */
  peer: number | null;
  ratio: number | null;
  goal: string;
  ok: boolean;
  note?: string;
}

/** A goal on ours ÷ peer: `most` is the largest ratio that meets it; null: reported, no goal. */
export function ratioRow(
  fields: { name: string; unit: string; note?: string },
  ours: readonly number[],
  peer: readonly number[],
  most: number | null,
): Row {
  const [a, b] = [median(ours), median(peer)];
  const ratio = a / b;
  return {
    ...fields,
    ours: a,
    peer: b,
    ratio,
    goal: most === null ? 'none' : `ratio <= ${most}`,
    ok: most === null || ratio <= most,
  };
}

/** A goal on ours ÷ peer where more is better: `least` is the smallest ratio that meets it. */
export function leastRatioRow(
  fields: { name: string; unit: string; note?: string },
  ours: readonly number[],
  peer: readonly number[],
  least: number,
): Row {
  const row = ratioRow(fields, ours, peer, null);
  return { ...row, goal: `ratio >= ${least}`, ok: row.ratio !== null && row.ratio >= least };
}

/** A goal on ours alone. */
export function limitRow(fields: { name: string; unit: string; note?: string }, ours: number, below: number): Row {
  return { ...fields, ours, peer: null, ratio: null, goal: `< ${below} ${fields.unit}`, ok: ours < below };
}

/** A goal on ours alone where more is better. */
export function leastRow(fields: { name: string; unit: string; note?: string }, ours: number, least: number): Row {
  return { ...fields, ours, peer: null, ratio: null, goal: `>= ${least} ${fields.unit}`, ok: ours >= least };
}

/** A goal on a count of ours: no more than `most`. */
export function mostRow(fields: { name: string; unit: string; note?: string }, ours: number, most: number): Row {
  return { ...fields, ours, peer: null, ratio: null, goal: `<= ${most} ${fields.unit}`, ok: ours <= most };
}

/** Not measured here: no failure, but never a silent one. */
export function skippedRow(fields: { name: string; unit: string }, why: string): Row {
  return { ...fields, ours: null, peer: null, ratio: null, goal: 'skipped', ok: true, note: why };
}

/** Could not be measured because something went wrong. */
export function failedRow(name: string, why: string): Row {
  return { name, unit: '-', ours: null, peer: null, ratio: null, goal: 'to be measured', ok: false, note: why };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}
