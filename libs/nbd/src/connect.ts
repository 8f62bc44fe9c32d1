/** From a URI to a client: socket, greeting, TLS where asked, export; all within one limit of time. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, rootCertificates } from 'node:tls';
import { OpenServiceError, TransientError } from '@openservice/domain';
import { ByteStream } from './byte-stream.ts';
import { OpenNbdClient } from './client.ts';
import { connectError, lost, stopped } from './errors.ts';
import { choose, greet, startTls, type Talk } from './handshake.ts';
import type { NbdClient, NbdOptions } from './port.ts';
import { type NbdAddress, parseNbdUri } from './uri.ts';

const CONNECT_LIMIT = 15_000;
/** Where Debian, Alpine and Fedora keep the authorities that the machine trusts. */
const SYSTEM_CA_FILES = ['/etc/ssl/certs/ca-certificates.crt', '/etc/pki/tls/certs/ca-bundle.crt', '/etc/ssl/cert.pem'];

/** PermanentError `bad_nbd_uri`, `nbd_tls_failed`, and those of NbdClient. */
export async function connectNbd(uri: string, options: NbdOptions): Promise<NbdClient> {
  const address = parseNbdUri(uri);
  const server = serverName(address);
  if (options.signal.aborted) throw stopped(server, options.signal);
  const raw = 'path' in address.socket ? connect(address.socket.path) : connect(address.socket);
  const sockets = [raw];
  const limit = options.connectLimit ?? CONNECT_LIMIT;
  let ended: OpenServiceError | null = null;
  const stop = (error: OpenServiceError) => {
    ended = error;
    for (const socket of sockets) socket.destroy();
  };
  const timer = setTimeout(() => {
    stop(new TransientError('nbd_timeout', `${server} did not greet as an NBD server within ${limit / 1000} s.`));
  }, limit);
  const onAbort = () => stop(stopped(server, options.signal));
  options.signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await shakeHands(raw, sockets, address, server, options);
  } catch (error) {
    for (const socket of sockets) socket.destroy();
    throw ended ?? (error instanceof OpenServiceError ? error : connectError(server, error));
  } finally {
    clearTimeout(timer);
    options.signal.removeEventListener('abort', onAbort);
  }
}

async function shakeHands(
  raw: Socket,
  sockets: Socket[],
  address: NbdAddress,
  server: string,
  options: NbdOptions,
): Promise<NbdClient> {
  // Errors after the connection come through the stream; a socket without a listener would end the process.
  await once(raw, 'connect');
  raw.setNoDelay(true);
  raw.on('error', () => {});
  let talk = talkOver(raw, server);
  const { noZeroes } = await greet(talk);
  if (address.tlsName !== null) {
    await startTls(talk);
    if (!talk.stream.detach()) throw lost(server, new Error('bytes came in the clear after TLS was agreed on'));
    // An address is checked against the certificate, too, but is not told as a name (RFC 6066).
    const name = isIP(address.tlsName) === 0 ? { servername: address.tlsName } : { host: address.tlsName };
    const secure = connectTls({ socket: raw, ...name, ca: options.ca ?? authorities() });
    sockets.push(secure);
    await once(secure, 'secureConnect');
    secure.on('error', () => {});
    talk = talkOver(secure, server);
  }
  const agreement = await choose(talk, address.exportName, noZeroes);
  return new OpenNbdClient(talk, agreement, options);
}

function talkOver(socket: Socket, server: string): Talk {
  return { socket, server, stream: new ByteStream(socket, (cause) => lost(server, cause)) };
}

function authorities(): string[] {
  const all = [...rootCertificates];
  for (const file of SYSTEM_CA_FILES) {
    try {
      all.push(readFileSync(file, 'utf8'));
      return all;
    } catch {
      // Not this kind of system; Node's own authorities are there anyway.
    }
  }
  return all;
}

function serverName({ socket, exportName }: NbdAddress): string {
  const place = 'path' in socket ? socket.path : `${socket.host}:${socket.port}`;
  return `The NBD server at ${place}${exportName === '' ? '' : ` (export ${exportName})`}`;
}
