export * from './commands.ts';
export * from './envelope.ts';
export * from './events.ts';
export * from './pool-token.ts';
export * from './rpc.ts';
export * from './subjects.ts';
