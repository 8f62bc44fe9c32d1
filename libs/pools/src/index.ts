export type * from './backend.ts';
export * from './manifest.ts';
export type * from './pool.ts';
