export { connectNbd } from './connect.ts';
export type { BlockDevice, DeviceExtent } from './device.ts';
export { MemoryDevice, type MemoryDeviceOptions } from './memory-device.ts';
export { Overlay, type OverlayOptions } from './overlay/overlay.ts';
export type * from './port.ts';
export { type NbdCounters, type NbdExport, type NbdExports, newCounters } from './server/exports.ts';
export { NbdServer, type NbdServerOptions } from './server/server.ts';
export { type NbdAddress, parseNbdUri } from './uri.ts';
