export { type Answer, ApiClient, type Job, type JobResult } from './api-client.ts';
export { freshDatabase, freshPrefix, tempDir, testUrl } from './fresh.ts';
export { type NbdServer, nbdkit, nbdkitOnPort, qemuNbd } from './nbd-servers.ts';
export { missingPeers, needsPeers, type Peer } from './peers.ts';
export { type Proxy, type ProxyOptions, startProxy } from './proxy.ts';
export { waitFor } from './wait.ts';
