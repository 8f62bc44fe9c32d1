/**
 * Loaded into a process before everything else (`--import`): its wall clock is the machine's plus what OPENSERVICE_CHAOS_CLOCK's file says, in
 * ms. Timers and performance.now() go on as they do when a machine's clock is set. Worker threads and native code see the machine's own.
 */
import { readFileSync } from 'node:fs';

const file = process.env.OPENSERVICE_CHAOS_CLOCK;
const RealDate = Date;
let offset = 0;

function look(): void {
  try {
    offset = Number(readFileSync(file ?? '', 'utf8')) || 0;
  } catch {
    offset = 0;
  }
}

if (file !== undefined) {
  look();
  setInterval(look, 200).unref();
  const now = () => RealDate.now() + offset;
  globalThis.Date = new Proxy(RealDate, {
    construct: (target, args, newTarget) => Reflect.construct(target, args.length === 0 ? [now()] : args, newTarget),
    apply: () => new RealDate(now()).toString(),
    get: (target, name) => (name === 'now' ? now : Reflect.get(target, name)),
  });
}
