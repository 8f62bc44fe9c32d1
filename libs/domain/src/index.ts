export * from './errors.ts';
export * from './ids.ts';
export * from './job-kinds.ts';
export * from './job-states.ts';
export * from './pool-types.ts';
export * from './sizes.ts';
