/** s3rver as a process of its own: `node s3rver-main.ts DIR PORT`. */
import S3rver from 's3rver';

const [directory, port] = process.argv.slice(2);
const server = new S3rver({
  address: '127.0.0.1',
  port: Number(port),
  directory: directory ?? '',
  silent: true,
  allowMismatchedSignatures: true,
});
await server.run();
process.once('SIGTERM', () => process.exit(0));
