/** All that is known of a job or a block, for whoever looks for the cause of a breach. */
import type { Evidence, Violation } from '../checks/check.ts';
import type { FaultTimes } from '../faults/run-faults.ts';

const MOST_JOBS = 12;

/** `loadBegan`: Unix ms; faults are told on the clock of the jobs. */
export function historyOf(violation: Violation, evidence: Evidence, faults: readonly FaultTimes[], loadBegan: number): string {
  const { rows, models } = evidence;
  const { job, block } = violation;
  const jobs = rows.jobs
    .filter(
      ({ id, block_id, params }) =>
        id === job || (block !== undefined && (block_id === block || JSON.stringify(params).includes(block))),
    )
    .slice(-MOST_JOBS);
  const lines: string[] = [];
  for (const one of jobs) {
    const { id, kind, state, node_id, attempt, error_code, error_message, params } = one;
    lines.push(
      `job ${id} ${kind} ${state} on ${node_id}, attempt ${attempt}${error_code === null ? '' : `, ${error_code}: ${error_message}`}`,
    );
    lines.push(`  params ${JSON.stringify(params)}`);
    for (const step of rows.transitions.filter(({ job_id }) => job_id === id)) {
      lines.push(
        `  ${time(step.at)} #${step.attempt} ${step.from_state ?? '-'} → ${step.to_state}${step.note === null ? '' : ` (${step.note})`}`,
      );
    }
    for (const model of models) {
      for (const asked of model.asked.values()) {
        const answer = model.answers.get(asked.key);
        if (answer?.jobs.includes(id) !== true && asked.about.job !== id) continue;
        lines.push(
          `  asked ${asked.kind} ${asked.method} ${asked.path} (key ${asked.key}), answered ${answer?.status ?? 'never'}${answer?.code == null ? '' : ` ${answer.code}`}`,
        );
      }
    }
  }
  if (block !== undefined) {
    const row = rows.blocks.find(({ id }) => id === block);
    lines.push(`block ${block} ${row?.state ?? 'not known'} ${row?.name ?? ''} ${row?.error_code ?? ''}`);
    for (const replica of rows.replicas.filter(({ block_id }) => block_id === block))
      lines.push(`  replica in ${replica.pool_id} ${replica.state}`);
    for (const { pool, ledgers } of evidence.pools) {
      const entry = ledgers.get(block);
      if (entry !== undefined) lines.push(`  ledger of ${pool.name} (${pool.id}): ${JSON.stringify(entry)}`);
    }
  }
  const times = jobs.flatMap(({ created_at, finished_at }) => [created_at.getTime(), (finished_at ?? new Date()).getTime()]);
  const [first, last] = [Math.min(...times), Math.max(...times)];
  for (const fault of faults) {
    if (fault.began === null) continue;
    const [began, ended] = [loadBegan + fault.began, loadBegan + (fault.ended ?? fault.began)];
    if (ended >= first - 2_000 && began <= last) {
      lines.push(
        `  fault ${fault.number} ${fault.kind} ${fault.target} ${time(new Date(began))} – ${time(new Date(ended))} ${JSON.stringify(fault.detail)}`,
      );
    }
  }
  return lines.map((line) => `    ${line}`).join('\n');
}

const time = (at: Date): string => at.toISOString().slice(11, 23);
