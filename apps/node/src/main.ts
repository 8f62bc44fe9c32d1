/** open-node. The bounds of memory come first: what is loaded before them has grown the heap by some ten MiB, for good. */
import { boundMemory } from './memory.ts';

boundMemory();
const { startNode } = await import('./start.ts');
await startNode(process.env);
