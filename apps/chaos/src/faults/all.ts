/** Every kind of fault: a new one is its file and a line here. The order is part of the schedule of a seed. */
import { stepClock } from './clock-step.ts';
import { fillDisk } from './disk-full.ts';
import type { FaultKind } from './fault.ts';
import { cutLink, delayLink, halveLink, refuseLink, stallLink, swallowLink } from './links.ts';
import { freezeProgram, killProgram } from './programs.ts';
import { deleteStreams, flushRedis, freezeServer, killServer, wipeJetStream } from './servers.ts';

export const FAULTS: readonly FaultKind[] = [
  killProgram,
  freezeProgram,
  killServer,
  freezeServer,
  flushRedis,
  deleteStreams,
  wipeJetStream,
  refuseLink,
  cutLink,
  halveLink,
  delayLink,
  stallLink,
  swallowLink,
  fillDisk,
  stepClock,
];
