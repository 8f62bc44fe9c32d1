/**
 * Where nobody of ours goes over HTTP, though a caller or a redirect names it (a node for a source, a center for a webhook): link-local
 * addresses, and the few others at which clouds hand a machine its credentials. All else that the machine reaches is open: images lie, and
 * webhooks listen, on servers of the same network more often than not.
 */
import { lookup } from 'node:dns';
import { BlockList, isIP, type LookupFunction } from 'node:net';
import { PermanentError } from '@openservice/domain';

const closed = new BlockList();
closed.addSubnet('169.254.0.0', 16, 'ipv4');
closed.addSubnet('fe80::', 10, 'ipv6');
for (const address of ['100.100.100.200', '168.63.129.16']) closed.addAddress(address, 'ipv4');
for (const address of ['fd00:ec2::254', 'fd20:ce::254']) closed.addAddress(address, 'ipv6');

/** PermanentError `address_not_allowed`. `hostname`: of a URL; a name is looked at when it is resolved, by `openLookup`. */
export function demandOpenAddress(hostname: string): void {
  const address = hostname.replace(/^\[(.*)\]$/, '$1');
  if (isClosed(address)) throw notAllowed(hostname, address);
}

/** For a connection: the address that was looked at is the one that is connected to. */
export const openLookup: LookupFunction = (hostname, options, callback) => {
  lookup(hostname, { ...options, all: true }, (error, found) => {
    const bad = error === null ? found.find(({ address }) => isClosed(address)) : undefined;
    const [first] = found ?? [];
    if (error !== null) callback(error, []);
    else if (bad !== undefined) callback(notAllowed(hostname, bad.address), []);
    else if (options.all === true || first === undefined) callback(null, found);
    else callback(null, first.address, first.family);
  });
};

function isClosed(address: string): boolean {
  const family = isIP(address);
  return family !== 0 && closed.check(address, family === 6 ? 'ipv6' : 'ipv4');
}

function notAllowed(hostname: string, address: string): PermanentError {
  const named = hostname === address ? '' : `, the address of ${hostname},`;
  return new PermanentError(
    'address_not_allowed',
    `${address}${named} is one at which machines are told their own secrets; it is not called.`,
  );
}
