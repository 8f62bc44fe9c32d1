/**
 * A node in a process of its own, to be killed: `FILE` gets a line for each commit and each run. With `GO`, a run comes to its checkpoint once that
 * file is there.
 */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { RESULT, startToyNode } from './toy.ts';

const { TOY_NATS = '', TOY_REDIS = '', TOY_NODE = '', TOY_DIR = '', TOY_FILE = '', TOY_GO = '' } = process.env;

function note(line: string): void {
  appendFileSync(TOY_FILE, `${line}\n`);
}

await startToyNode({
  natsUrl: TOY_NATS,
  redisUrl: TOY_REDIS,
  nodeId: TOY_NODE,
  dataDir: TOY_DIR,
  toy: {
    run: async (context) => {
      note(`run ${context.jobId} ${JSON.stringify(context.lastCheckpoint)}`);
      while (TOY_GO !== '' && !existsSync(TOY_GO)) await delay(10, undefined, { signal: context.signal });
      context.progress({ bytes_total: 4, bytes_done: 2, bytes_sent: 2, bytes_skipped: 0, rate: 1, eta_ms: null });
      await context.checkpoint({ step: 1 });
      await context.preparing();
      await context.requestCommit(RESULT);
      context.assertLease();
      const committed = `commit ${context.jobId}`;
      if (!readFileSync(TOY_FILE, 'utf8').split('\n').includes(committed)) note(committed);
      return RESULT;
    },
  },
});
