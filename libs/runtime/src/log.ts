/** The log: JSON lines on stdout, one logger a process, children for its parts. Secrets are struck out by field name. */
import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino';

export type Logger = PinoLogger;
export const LOG_LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

const SECRET_FIELDS = ['secret_key', 'secretKey', 'token', 'password', 'authorization', 'cookie'];

export interface LogOptions {
  /** The program: `center`, `node`. */
  name: string;
  level: LogLevel;
  /** Fields of every line, e.g. the node's id. */
  fields?: Record<string, unknown>;
  destination?: DestinationStream;
}

export function createLog({ name, level, fields, destination }: LogOptions): Logger {
  const options = {
    level,
    base: { name, pid: process.pid, ...fields },
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
    redact: {
      paths: SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`, `*.*.*.${field}`]),
      censor: '[secret]',
    },
  };
  return destination === undefined ? pino(options) : pino(options, destination);
}
