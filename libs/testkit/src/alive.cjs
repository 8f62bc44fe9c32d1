/** What keeps this process alive, one line each: for a run of tests that has ended and does not exit. */
function alive() {
  const { getActiveResourcesInfo, _getActiveHandles, _getActiveRequests } = process;
  const counts = new Map();
  for (const name of getActiveResourcesInfo.call(process)) counts.set(name, (counts.get(name) ?? 0) + 1);
  return [
    [...counts].map(([name, count]) => `${count} ${name}`).join(', '),
    ..._getActiveHandles.call(process).map(describe),
    ..._getActiveRequests.call(process).map((request) => `request ${request?.constructor?.name}`),
  ];
}

function describe(handle) {
  const kind = handle?.constructor?.name ?? 'handle';
  if (handle.spawnfile !== undefined) return `${kind} ${handle.pid}: ${(handle.spawnargs ?? []).join(' ')}`;
  if (handle.listening !== undefined) return `${kind} listening at ${JSON.stringify(handle.address?.())}`;
  if (handle.threadId !== undefined) return `${kind} thread ${handle.threadId}`;
  if (handle.remotePort !== undefined)
    return `${kind} from port ${handle.localPort} to ${handle.remoteAddress}:${handle.remotePort}`;
  return `${kind}${handle.fd === undefined ? '' : ` on file ${handle.fd}`}`;
}

module.exports = { alive };
