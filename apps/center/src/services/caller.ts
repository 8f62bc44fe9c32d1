export type Role = 'viewer' | 'operator' | 'admin';

/** Who asks, and the trace that the work belongs to. */
export interface Caller {
  tokenId: string;
  role: Role;
  /** W3C trace context. */
  traceparent: string;
}

const RANK: Record<Role, number> = { viewer: 0, operator: 1, admin: 2 };

export function mayActAs(caller: Caller, role: Role): boolean {
  return RANK[caller.role] >= RANK[role];
}
