import { spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PermanentError } from '@openservice/domain';
import { Child } from './child.ts';
import { composeChild } from './compose.ts';
import { givenUrl } from './given.ts';
import { findBinary } from './paths.ts';
import { freePort } from './ports.ts';
import { mysqlAnswers } from './probe.ts';
import { remember, remembered } from './remembered.ts';
import { Server, type StartOptions } from './server.ts';

export const mysqlBinary = (): string | undefined => findBinary('mariadbd', 'mysqld');

/**
 * MariaDB or MySQL; the URL names the user openservice, who may do everything (tests make databases), and the database
 * openservice. Every commit is on stable storage before it is acknowledged.
 */
export async function startMysql(options: StartOptions): Promise<Server<{ url: string }>> {
  const given = await givenUrl('OPENSERVICE_MYSQL_URL', mysqlAnswers);
  if (given !== undefined) return new Server('mysql', given);

  const facts = join(options.dir, 'run', 'mysql.json');
  const kept = remembered<{ port: number; password: string }>(facts);
  const port = await freePort(kept.port);
  const password = kept.password ?? randomBytes(18).toString('base64url');
  remember(facts, { port, password });
  const url = `mysql://openservice:${password}@127.0.0.1:${port}/openservice`;

  const binary = mysqlBinary();
  const child =
    binary === undefined
      ? composeChild({
          name: 'mysql',
          dir: options.dir,
          service: 'mysql',
          port,
          inside: 3306,
          data: join(options.dir, 'mysql-compose'),
          mount: '/var/lib/mysql',
          environment: {
            MYSQL_USER: 'openservice',
            MYSQL_PASSWORD: password,
            MYSQL_DATABASE: 'openservice',
          },
          ready: () => mysqlAnswers('127.0.0.1', port),
        })
      : nativeChild(binary, options.dir, port, password);
  await child.start(options.signal);
  return new Server('mysql', { url }, [child]);
}

function nativeChild(binary: string, dir: string, port: number, password: string): Child {
  const data = join(dir, 'mysql');
  const user = process.getuid?.() === 0 ? ['--user=root'] : [];
  // Its own: servers that start beside each other remove each other's files from a shared /tmp.
  const scratch = join(dir, 'mysql-tmp');
  mkdirSync(scratch, { recursive: true, mode: 0o700 });
  const own = [...user, `--tmpdir=${scratch}`];
  const version = spawnSync(binary, ['--no-defaults', '--version'], { encoding: 'utf8' }).stdout ?? '';
  const isMaria = version.includes('MariaDB');
  if (!existsSync(data)) makeData(binary, isMaria, data, own);

  const sql = join(dir, 'run', 'mysql-init.sql');
  writeFileSync(sql, accounts(password), { mode: 0o600 });
  return new Child({
    name: 'mysql',
    dir,
    command: binary,
    args: [
      '--no-defaults',
      ...own,
      `--datadir=${data}`,
      // A socket's path may have 107 characters; a relative one has room whatever the directory is called.
      '--socket=mysql.sock',
      `--pid-file=${join(data, 'mysqld.pid')}`,
      '--bind-address=127.0.0.1',
      `--port=${port}`,
      `--init-file=${sql}`,
      '--skip-name-resolve',
      '--innodb-flush-log-at-trx-commit=1',
      '--innodb-buffer-pool-size=128M',
      '--max-connections=400',
      '--character-set-server=utf8mb4',
      ...(isMaria ? [] : ['--mysqlx=OFF']),
    ],
    ready: () => mysqlAnswers('127.0.0.1', port),
    stopLimitMs: 20_000,
  });
}

/** Made beside its place and renamed when it is whole: a start that was killed half-way leaves nothing to trip over. */
function makeData(binary: string, isMaria: boolean, data: string, own: string[]): void {
  const half = `${data}.new`;
  rmSync(half, { recursive: true, force: true });
  mkdirSync(half, { recursive: true, mode: 0o700 });
  const installer = findBinary('mariadb-install-db', 'mysql_install_db');
  const made =
    isMaria && installer !== undefined
      ? spawnSync(
          installer,
          ['--no-defaults', ...own, `--datadir=${half}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
          {
            encoding: 'utf8',
          },
        )
      : spawnSync(binary, ['--no-defaults', '--initialize-insecure', ...own, `--datadir=${half}`], { encoding: 'utf8' });
  if (made.status !== 0) {
    const words = `${made.stdout ?? ''}${made.stderr ?? ''}`.trim().split('\n').slice(-3).join(' | ');
    throw new PermanentError('server_not_started', `The database's data directory ${data} could not be made: ${words}`);
  }
  renameSync(half, data);
}

/** Run by the server at each start before it listens: nobody gets in without the password. One statement a line. */
function accounts(password: string): string {
  const roots = ['localhost', '127.0.0.1', '::1'].map(
    (host) => `ALTER USER IF EXISTS 'root'@'${host}' IDENTIFIED BY '${password}';`,
  );
  return `${[
    ...roots,
    "DROP USER IF EXISTS ''@'localhost';",
    'CREATE DATABASE IF NOT EXISTS openservice CHARACTER SET utf8mb4;',
    `CREATE USER IF NOT EXISTS 'openservice'@'127.0.0.1' IDENTIFIED BY '${password}';`,
    `ALTER USER 'openservice'@'127.0.0.1' IDENTIFIED BY '${password}';`,
    "GRANT ALL PRIVILEGES ON *.* TO 'openservice'@'127.0.0.1' WITH GRANT OPTION;",
  ].join('\n')}\n`;
}
