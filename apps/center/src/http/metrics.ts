/** Prometheus text, https://prometheus.io/docs/instrumenting/exposition_formats/. Counted when asked; a few indexed queries. */
import type { DataSource } from '@openservice/store';

interface Count {
  label: string;
  n: string | number;
}

const escaped = (value: string): string => value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n');

function gauge(name: string, help: string, samples: [labels: string, value: number][]): string {
  const lines = samples.map(([labels, value]) => `${name}${labels === '' ? '' : `{${labels}}`} ${value}`);
  return [`# HELP ${name} ${help}`, `# TYPE ${name} gauge`, ...lines].join('\n');
}

const byState = (rows: Count[]): [string, number][] => rows.map((row) => [`state="${escaped(row.label)}"`, Number(row.n)]);

export async function metricsText(database: DataSource): Promise<string> {
  const [jobs, nodes, outbox, held, dead, anomalies] = await Promise.all([
    database.query<Count[]>('SELECT state AS label, COUNT(*) AS n FROM jobs GROUP BY state'),
    database.query<Count[]>('SELECT state AS label, COUNT(*) AS n FROM nodes GROUP BY state'),
    database.query<Count[]>("SELECT '' AS label, COUNT(*) AS n FROM outbox WHERE status = 'pending'"),
    database.query<Count[]>("SELECT '' AS label, COUNT(*) AS n FROM outbox WHERE status = 'held'"),
    database.query<Count[]>("SELECT '' AS label, COUNT(*) AS n FROM dead_letters WHERE outcome IS NULL OR outcome = 'refused'"),
    database.query<Count[]>('SELECT kind AS label, COUNT(*) AS n FROM anomalies WHERE dismissed_at IS NULL GROUP BY kind'),
  ]);
  const memory = process.memoryUsage();
  return `${[
    gauge('openservice_jobs', 'Jobs by state.', byState(jobs)),
    gauge('openservice_nodes', 'Nodes by state.', byState(nodes)),
    gauge('openservice_outbox_pending', 'Commands that a node has not acknowledged.', [['', Number(outbox[0]?.n ?? 0)]]),
    gauge('openservice_outbox_held', 'Commands to run that wait for room under a max_jobs.', [['', Number(held[0]?.n ?? 0)]]),
    gauge('openservice_dead_letters', 'Messages that could not be understood.', [['', Number(dead[0]?.n ?? 0)]]),
    gauge(
      'openservice_anomalies',
      'What GET /anomalies lists, by kind.',
      anomalies.map((row) => [`kind="${escaped(row.label)}"`, Number(row.n)]),
    ),
    gauge('process_resident_memory_bytes', 'Resident memory of this center.', [['', memory.rss]]),
    gauge('nodejs_heap_used_bytes', 'JavaScript heap in use.', [['', memory.heapUsed]]),
    gauge('process_uptime_seconds', 'Seconds since this center started.', [['', Math.round(process.uptime())]]),
  ].join('\n')}\n`;
}
