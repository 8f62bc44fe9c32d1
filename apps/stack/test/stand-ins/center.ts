/** A center that only says that it is ready and that all nodes are online. */
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join } from 'node:path';

writeFileSync(join(process.env.OPENSERVICE_DATA_DIR ?? '', 'token'), 'a-token\n', { mode: 0o600 });
const nodes = ['node-1', 'node-2'].map((id) => ({ id, state: 'online' }));
createServer((request, response) => {
  response.end(request.url?.startsWith('/openstore_v1/nodes') === true ? JSON.stringify({ nodes }) : 'ok');
}).listen(Number(process.env.OPENSERVICE_HTTP_PORT), '127.0.0.1');
process.once('SIGTERM', () => process.exit(0));
