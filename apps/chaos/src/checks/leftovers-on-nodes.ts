import type { Check } from './check.ts';

/** What a node keeps for itself. Import roots and exported pools are looked at elsewhere. */
const OWN =
  /^(journal\.db(-wal|-shm)?|health\.probe|cache\/.*|exports\/.*|tls\/.*|token|run\/(nbd\.sock)?|content\/|instances\/|\.ballast|import\/.*)$/;

export const leftoversOnNodes: Check = {
  name: 'leftovers-on-nodes',
  promise: 'No content, instance or scratch file is left on a node that the center does not know of.',
  find({ rows, nodeFiles }) {
    const waiting = new Map(rows.blocks.map((block) => [block.id, block]));
    const instances = new Map(rows.instances.map(({ id, node_id }) => [id, node_id]));
    return [...nodeFiles].flatMap(([node, files]) =>
      files
        .filter((file) => {
          if (OWN.test(file)) return false;
          const block = /^content\/([^/.]+)\.(content|state)$/.exec(file)?.[1];
          if (block !== undefined) return waiting.get(block)?.content_node_id !== node;
          const instance = /^instances\/([^/]+)\//.exec(file)?.[1];
          return instance === undefined || instances.get(instance) !== node;
        })
        .map((file) => ({ block: /block-[0-9a-z]+/.exec(file)?.[0], what: `${file} is left in the data directory of ${node}.` })),
    );
  },
};
