export * from './agent.ts';
export type * from './port.ts';
export type { NodeDescription, SyncLimits } from './presence.ts';
