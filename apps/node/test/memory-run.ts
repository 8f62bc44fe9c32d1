/** Run as a process of its own by node.bounds-memory.test.ts; bounds its memory as main.ts does. */
import { boundMemory } from '../src/memory.ts';

boundMemory();
await import('./memory-work.ts');
