import { z } from '@hono/zod-openapi';
import { isId } from '@openservice/domain';
import { CDM_INSTANCE_STATES } from '@openservice/store';
import { bandwidth, bytes, flag, idOf, name, nodeId, priority, priorityText, time } from './fields.ts';
import { listQuery, nameFilter, nextMarker } from './lists.ts';

/** An export is called by it. */
const instanceName = name(128)
  .refine((value) => !value.includes('/'), 'must not hold "/": it stands before the number of a disk')
  .refine((value) => !isId('ins', value), 'must not look like the id of an instance');

export const loadBody = z
  .strictObject({
    block_id: idOf('block').optional(),
    set_id: idOf('set').optional().openapi({ description: 'All its blocks, in the order of their ids, or none.' }),
    node_id: nodeId
      .optional()
      .openapi({ description: 'Default: a node that has the block in a directory, else any that is online.' }),
    read_only: z.boolean().default(false),
    name: instanceName
      .optional()
      .openapi({ description: 'Default: the name of the block or set, with a number where it is taken.' }),
    from_pool_id: idOf('pool').optional().openapi({ description: 'Where it is read; default: the best replica for the node.' }),
    priority,
  })
  .refine((body) => (body.block_id === undefined) !== (body.set_id === undefined), {
    path: ['block_id'],
    message: 'give either block_id or set_id, and not both',
  })
  .openapi('LoadCdmInstance');
export type LoadInstance = z.output<typeof loadBody>;

export const saveBody = z
  .strictObject({
    pool_id: idOf('pool').optional().openapi({ description: 'Default: where each disk is read from.' }),
    name: name(128).optional().openapi({ description: 'Default: that of the instance and the number of the disk.' }),
    set_id: idOf('set').optional().openapi({ description: 'Default: the set of the block that the disk was loaded from.' }),
    bandwidth,
    priority,
  })
  .openapi('SaveCdmInstance');
export type SaveInstance = z.output<typeof saveBody>;

export const hydrateBody = z
  .strictObject({
    pool_id: idOf('pool').openapi({ description: "A local or dedup pool of the instance's node." }),
    bandwidth,
    priority,
  })
  .openapi('HydrateCdmInstance');
export type HydrateInstance = z.output<typeof hydrateBody>;

export const rewindBody = z.strictObject({ priority }).openapi('RewindCdmInstance');

export const deleteInstanceQuery = z
  .strictObject({
    save: flag.default(false).openapi({ description: 'What was written becomes a new block of each disk first.' }),
    pool_id: idOf('pool').optional().openapi({ description: 'With save: where the new blocks go.' }),
    force: flag.default(false).openapi({
      description: 'Admin: forgets the instance without asking its node, which must be offline, or the instance in error.',
    }),
    priority: priorityText,
  })
  .refine((query) => query.pool_id === undefined || query.save, { path: ['pool_id'], message: 'needs save=true' })
  .refine((query) => !(query.save && query.force), {
    path: ['force'],
    message: 'goes without save: a node that is not asked saves nothing',
  });
export type DeleteInstance = z.output<typeof deleteInstanceQuery>;

const states = z.enum(CDM_INSTANCE_STATES);

export const listInstancesQuery = listQuery(idOf('ins'), {
  filter: nameFilter,
  node_id: nodeId.optional(),
  state: states.optional(),
  block_id: idOf('block').optional(),
  set_id: idOf('set').optional(),
});

const live = (what: string) =>
  z
    .int()
    .min(0)
    .nullable()
    .openapi({ description: `${what} Null in lists, and where the node does not answer in time.` });

const diskView = z
  .object({
    index: z.int(),
    block_id: z.string(),
    pool_id: z.string().openapi({ description: 'Where its base is read from.' }),
    uri: z.string().nullable().openapi({ description: 'Over TCP; null where the node serves none.' }),
    unix_uri: z.string().nullable().openapi({ description: 'On the node itself. Null where uri has no figures either.' }),
    size: bytes,
    overlay_bytes: bytes.openapi({ description: 'What was written takes up that much; as last known.' }),
    bytes_read: live("By clients, since the node's start."),
    bytes_written: live("By clients, since the node's start."),
    connections: live('Clients now.'),
  })
  .openapi('CdmInstanceDisk');

export const instanceView = z
  .object({
    id: z.string(),
    name: z.string(),
    node_id: z.string(),
    set_id: z.string().nullable(),
    state: states,
    read_only: z.boolean(),
    disks: z.array(diskView),
    error: z.object({ code: z.string(), message: z.string() }).nullable(),
    created_at: time,
  })
  .openapi('CdmInstance');

const line = z.string();
const clientCommands = z
  .object({
    nbdinfo: line,
    nbd_client: line,
    qemu: line,
    qemu_img: line,
    nbdfuse: line,
    guestfish: line.nullable().openapi({ description: 'Null over TLS, which guestfish does not speak.' }),
  })
  .openapi('CdmInstanceCommands');

const diskCommands = z.object({
  index: z.int(),
  tcp: clientCommands.nullable(),
  unix: clientCommands.nullable().openapi({ description: 'To be run on the node itself.' }),
});

export const instanceAnswer = z.object({
  cdm_instance: instanceView.extend({
    commands: z.array(diskCommands).openapi({
      description:
        'Lines to paste into a shell, of each disk. Where the node demands TLS they name a directory `pki`: ca-cert.pem in it is the authority that signed the node’s certificate.',
    }),
  }),
});
export const instancesAnswer = z.object({ cdm_instances: z.array(instanceView), next_marker: nextMarker });
export const instanceJob = z.object({
  'ins-id': z.string(),
  'job-id': z.string(),
  'block-ids': z.array(z.string()).optional().openapi({ description: 'The new blocks, in the order of the disks.' }),
});
/** Forgotten by force, without a job. */
export const instanceForgotten = z.object({ 'ins-id': z.string(), 'job-id': z.null() });
