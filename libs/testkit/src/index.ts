export { freshDatabase, freshPrefix, tempDir, testUrl } from './fresh.ts';
export { type Proxy, startProxy } from './proxy.ts';
export { type SpawnedNode, spawnNode } from './spawn-node.ts';
export { waitFor, waitForEvent } from './wait.ts';
