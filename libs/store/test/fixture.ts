/** A database of its own for one test file, on the server that the environment names. */
import { randomBytes } from 'node:crypto';
import mysql from 'mysql2/promise';

export interface OwnDatabase {
  url: string;
  drop(): Promise<void>;
}

/** Null, said on the console, when no server is named. */
export async function ownDatabase(): Promise<OwnDatabase | null> {
  const server = process.env.OPENSERVICE_TEST_MYSQL_URL;
  if (server === undefined || server === '') {
    console.log('    skipped: OPENSERVICE_TEST_MYSQL_URL is not set (a URL of a user who may create databases)');
    return null;
  }
  const name = `t_store_${randomBytes(6).toString('hex')}`;
  const run = async (sql: string): Promise<void> => {
    const connection = await mysql.createConnection(server);
    await connection.query(sql);
    await connection.end();
  };
  await run(`CREATE DATABASE ${name}`);
  const url = new URL(server);
  url.pathname = `/${name}`;
  return { url: url.href, drop: () => run(`DROP DATABASE ${name}`) };
}
