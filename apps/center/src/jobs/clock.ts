/** Deadlines and leases go by the database's clock alone: centers and nodes may disagree about the time. */

export const NOW = 'UTC_TIMESTAMP(3)';

/** SQL of the moment `ms` (integer) from now. */
export function fromNow(ms: number): string {
  return `(UTC_TIMESTAMP(3) + INTERVAL ${Math.trunc(ms) * 1000} MICROSECOND)`;
}
