/** The relay's work without NATS: what is due is leased and counts as sent. */
import type { DataSource } from '@openservice/store';
import { admit } from '../../src/relay/admission.ts';
import { type LeasedCommand, leaseDue, lookForDue, markSent } from '../../src/relay/lease.ts';

/** One pass of a relay, which takes 64 commands at most. */
export async function relayOnce(database: DataSource): Promise<LeasedCommand[]> {
  const due = await lookForDue(database);
  if (due.held) await admit(database);
  const commands = await leaseDue(database, (await lookForDue(database)).priorities);
  await markSent(database, commands);
  return commands;
}

/** As often as there is something. */
export async function relayAll(database: DataSource): Promise<LeasedCommand[]> {
  const all: LeasedCommand[] = [];
  for (;;) {
    const some = await relayOnce(database);
    if (some.length === 0) return all;
    all.push(...some);
  }
}
