export * from './backoff.ts';
export * from './config.ts';
export * from './failpoint.ts';
export * from './lifecycle.ts';
export * from './log.ts';
export * from './micro.ts';
export * from './nats.ts';
export * from './trace.ts';
