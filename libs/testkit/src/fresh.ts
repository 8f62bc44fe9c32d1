import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createConnection } from 'mysql2/promise';

/** The variable's value. Throws where the test set-up did not start that server. */
export function testUrl(name: 'MYSQL' | 'REDIS' | 'NATS'): string {
  const variable = `OPENSERVICE_TEST_${name}_URL`;
  const url = process.env[variable];
  if (url === undefined || url === '')
    throw new Error(`${variable} is not set: run the tests with npm test, which starts the servers.`);
  return url;
}

/** Unique to one test: for Redis keys, NATS names, S3 prefixes. Letters, digits and dashes. */
export function freshPrefix(word = 'test'): string {
  return `${word}-${randomBytes(6).toString('hex')}`;
}

/** An empty database of its own on the tests' server. */
export async function freshDatabase(): Promise<{ url: string; drop(): Promise<void> }> {
  const base = testUrl('MYSQL');
  const name = `t_${randomBytes(8).toString('hex')}`;
  const run = async (sql: string) => {
    const connection = await createConnection(base);
    try {
      await connection.query(sql);
    } finally {
      await connection.end();
    }
  };
  await run(`CREATE DATABASE ${name} CHARACTER SET utf8mb4`);
  const url = new URL(base);
  url.pathname = `/${name}`;
  return { url: url.toString(), drop: () => run(`DROP DATABASE IF EXISTS ${name}`) };
}

export function tempDir(): { path: string; remove(): void } {
  const path = mkdtempSync(join(tmpdir(), 'openservice-'));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}
