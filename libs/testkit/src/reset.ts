import type { Socket } from 'node:net';

/**
 * Resets a connection. One whose end is on its way already is only destroyed: Node cannot reset it then, forgets to close it, and the
 * process spins for ever when it should exit.
 */
export function reset(socket: Socket): void {
  if (socket.writableEnded && !socket.writableFinished) socket.destroy();
  else socket.resetAndDestroy();
}
