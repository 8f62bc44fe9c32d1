/** NBD URIs (https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md). */
import { isIP } from 'node:net';
import { PermanentError } from '@openservice/domain';

const DEFAULT_PORT = 10809;

export interface NbdAddress {
  socket: { host: string; port: number } | { path: string };
  /** The name that the server's certificate must be for; null: no TLS. */
  tlsName: string | null;
  exportName: string;
}

/** PermanentError `bad_nbd_uri`. */
export function parseNbdUri(text: string): NbdAddress {
  const url = URL.canParse(text) ? new URL(text) : null;
  const scheme = url?.protocol.replace(/:$/, '') ?? '';
  if (url === null || !['nbd', 'nbds', 'nbd+unix', 'nbds+unix'].includes(scheme)) {
    throw bad(text, 'write it as nbd://host:port/export, nbds://… for TLS, or nbd+unix:///export?socket=/path');
  }
  if (url.username !== '' || url.password !== '') throw bad(text, 'names and passwords are not supported');
  if (url.hash !== '') throw bad(text, 'a # has no meaning in it');
  const unix = scheme.endsWith('+unix');
  for (const key of url.searchParams.keys()) {
    if (!(key === 'socket' && unix) && key !== 'tls-hostname') throw bad(text, `the parameter ${key} is not supported`);
  }
  const socket = unix ? unixSocket(url, text) : tcpSocket(url, text);
  const exportName = decoded(url.pathname.replace(/^\//, ''), text);
  if (exportName.includes('\0') || Buffer.byteLength(exportName) > 4096)
    throw bad(text, 'the export name is too long or has a NUL in it');
  if (!scheme.startsWith('nbds')) return { socket, tlsName: null, exportName };
  const tlsName = url.searchParams.get('tls-hostname') ?? ('host' in socket ? socket.host : '');
  if (tlsName === '') throw bad(text, 'TLS over a Unix socket needs tls-hostname, the name in the certificate');
  return { socket, tlsName, exportName };
}

function tcpSocket(url: URL, text: string): { host: string; port: number } {
  const bare = url.hostname.replace(/^\[(.*)\]$/, '$1');
  const host = isIP(bare) === 6 ? bare : decoded(bare, text);
  if (host === '') throw bad(text, 'the host is missing');
  return { host, port: url.port === '' ? DEFAULT_PORT : Number(url.port) };
}

function unixSocket(url: URL, text: string): { path: string } {
  if (url.host !== '') throw bad(text, 'a Unix socket has no host: write three slashes');
  const path = url.searchParams.get('socket') ?? '';
  if (!path.startsWith('/') || path.includes('\0')) throw bad(text, 'socket must be the absolute path of a Unix socket');
  return { path };
}

function decoded(text: string, uri: string): string {
  try {
    return decodeURIComponent(text);
  } catch (cause) {
    throw bad(uri, 'a % in it is not followed by two hex digits', cause);
  }
}

function bad(uri: string, why: string, cause?: unknown): PermanentError {
  return new PermanentError('bad_nbd_uri', `${JSON.stringify(uri)} is no NBD URI that can be used: ${why}.`, { cause });
}
