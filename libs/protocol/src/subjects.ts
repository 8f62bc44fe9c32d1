/**
 * Every NATS subject, stream and durable, in one place (docs/nats.md lists them for people).
 *
 * A node may be given its own NATS user: all that it publishes or subscribes carries its id at a fixed place, so that a
 * permission can name it.
 */
export const ROOT = 'openservice.v1';

export const CMD_STREAM = 'OPENSERVICE_CMD';
export const EVT_STREAM = 'OPENSERVICE_EVT';
/** One durable shared by all centers: each event goes to one of them. */
export const EVT_DURABLE = 'center';

export const CMD_SUBJECTS = `${ROOT}.cmd.>`;
export const EVT_SUBJECTS = `${ROOT}.evt.>`;

export const COMMAND_TYPES = ['run', 'cancel', 'pause', 'resume', 'drain', 'sync'] as const;
export type CommandType = (typeof COMMAND_TYPES)[number];

export const cmdSubject = (node: string, type: CommandType): string => `${ROOT}.cmd.${node}.${type}`;
export const cmdFilter = (node: string): string => `${ROOT}.cmd.${node}.>`;
/** The durable consumer of a node's commands is named by the node's id; the center makes it. */
export const cmdDurable = (node: string): string => node;

export const evtSubject = (node: string, job: string, type: string): string => `${ROOT}.evt.${node}.${job}.${type}`;
/** A center's look at a stream: an empty message that is taken out again at once; nobody acts on it. */
const PROBE_NODE = '_center';
export const probeSubject = (stream: typeof CMD_STREAM | typeof EVT_STREAM): string =>
  stream === CMD_STREAM ? `${ROOT}.cmd.${PROBE_NODE}.probe` : evtSubject(PROBE_NODE, 'stream', 'probe');
export const isProbe = (subject: string): boolean => subject.split('.')[3] === PROBE_NODE;

/** Core NATS, not stored: at most one message a second and job. */
export const progSubject = (node: string, job: string): string => `${ROOT}.prog.${node}.${job}`;
export const PROG_SUBJECTS = `${ROOT}.prog.*.*`;

/** Core NATS, empty: events have their places in the stream; centers look at once instead of at their next look. */
export const EVENTS_SUBJECT = `${ROOT}.note.events`;

/** What a node asks of a center (request and reply, any center answers). */
export const centerRpcSubject = (node: string, method: string): string => `${ROOT}.rpc.center.${node}.${method}`;
/** What a center asks of, or tells, a node. */
export const nodeRpcSubject = (node: string, method: string): string => `${ROOT}.rpc.${node}.${method}`;

export const inboxPrefix = (node: string): string => `_INBOX_${node}`;

/** BullMQ: one queue a node and kind; the same names in the node and on the board. */
export const QUEUE_PREFIX = 'openservice';
export const queueName = (node: string, kind: string): string => `${node}.${kind}`;
export const queueJobId = (jobId: string, attempt: number): string => `${jobId}-${attempt}`;
