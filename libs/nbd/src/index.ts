export { connectNbd } from './connect.ts';
export type * from './port.ts';
export { type NbdAddress, parseNbdUri } from './uri.ts';
