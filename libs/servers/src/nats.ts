import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Child } from './child.ts';
import { composeChild } from './compose.ts';
import { givenUrl } from './given.ts';
import { findBinary } from './paths.ts';
import { freePort } from './ports.ts';
import { natsAnswers } from './probe.ts';
import { remember, remembered } from './remembered.ts';
import { Server, type StartOptions } from './server.ts';

export const natsBinary = (): string | undefined => findBinary('nats-server');

/** NATS with JetStream, its streams under `dir`/nats. */
export async function startNats(options: StartOptions): Promise<Server<{ url: string }>> {
  const given = await givenUrl('OPENSERVICE_NATS_URL', natsAnswers);
  if (given !== undefined) return new Server('nats', given);

  const facts = join(options.dir, 'run', 'nats.json');
  const port = await freePort(remembered<{ port: number }>(facts).port);
  remember(facts, { port });
  const data = join(options.dir, 'nats');
  mkdirSync(data, { recursive: true, mode: 0o700 });
  const common = { name: 'nats', dir: options.dir, ready: () => natsAnswers('127.0.0.1', port) };
  const binary = natsBinary();
  const child =
    binary === undefined
      ? composeChild({ ...common, service: 'nats', port, inside: 4222, data, mount: '/data' })
      : new Child({ ...common, command: binary, args: ['-a', '127.0.0.1', '-p', String(port), '-js', '-sd', data] });
  await child.start(options.signal);
  return new Server('nats', { url: `nats://127.0.0.1:${port}` }, [child]);
}
