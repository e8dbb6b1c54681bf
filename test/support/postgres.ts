/** Throw-away PostgreSQL servers for tests, on a socket in a folder of their own. */

import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import pg from 'pg';

import { ORDINARY_USER } from './ordinary-user.ts';
import { missingPrograms } from './programs.ts';

/** Where Debian puts the servers, one folder a version; none of them is on a path. */
const DEBIAN_VERSIONS = '/usr/lib/postgresql';

function findPrograms(): string | undefined {
  const versions = existsSync(DEBIAN_VERSIONS) ? readdirSync(DEBIAN_VERSIONS) : [];
  const [newest] = versions
    .map(Number)
    .filter(Number.isInteger)
    .sort((a, b) => b - a);
  return newest === undefined ? undefined : join(DEBIAN_VERSIONS, String(newest), 'bin');
}

const programs = findPrograms();
if (programs === undefined) missingPrograms(['postgres', 'initdb']);

/** Why tests with PostgreSQL cannot run here; undefined when they can. */
export const postgresMissing = programs === undefined ? 'not installed: postgresql' : undefined;

/** The server refuses to run as root. */
const user = process.getuid?.() === 0 ? { uid: ORDINARY_USER, gid: ORDINARY_USER } : {};
const SUPERUSER = 'postgres';

export class TestPostgres {
  /** Of its socket. */
  readonly folder: string;
  private readonly settings: readonly string[];
  private server: ChildProcess | undefined;
  private databases = 0;

  private constructor(folder: string, settings: readonly string[]) {
    this.folder = folder;
    this.settings = settings;
  }

  /** @param settings as in `postgresql.conf`, such as `fsync=off` */
  static async start(settings: readonly string[] = []): Promise<TestPostgres> {
    const folder = mkdtempSync(join(tmpdir(), 'weightgate-postgres-'));
    if (user.uid !== undefined) chownSync(folder, user.uid, user.gid);
    const options = [
      '--auth=trust',
      `--username=${SUPERUSER}`,
      '--encoding=UTF8',
      '--no-locale',
      '--no-sync',
    ];
    const made = spawnSync(program('initdb'), ['-D', join(folder, 'data'), ...options], {
      ...user,
      cwd: folder,
      encoding: 'utf8',
    });
    if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
    const cluster = new TestPostgres(folder, settings);
    await cluster.run();
    return cluster;
  }

  /** Starts the server on its data, after `kill` too. */
  async run(): Promise<void> {
    const settings = ['listen_addresses=', `unix_socket_directories=${this.folder}`, ...this.settings];
    this.server = spawn(
      program('postgres'),
      ['-D', join(this.folder, 'data'), ...settings.flatMap((setting) => ['-c', setting])],
      { ...user, cwd: this.folder, stdio: 'ignore' },
    );
    for (let tries = 0; tries < 300; tries += 1) {
      if (await this.answers()) return;
      await delay(100);
    }
    throw new Error('postgres does not answer');
  }

  /** The connection string of a database. */
  address(database: string, role = SUPERUSER): string {
    return `postgresql://${role}@/${database}?host=${encodeURIComponent(this.folder)}`;
  }

  /** @returns the connection string of a new, empty database */
  async createDatabase(from = 'template0'): Promise<string> {
    const name = `log_${(this.databases += 1)}`;
    await this.execute('postgres', `CREATE DATABASE ${name} TEMPLATE ${from}`);
    return this.address(name);
  }

  /** Runs statements as the superuser. */
  async execute(database: string, sql: string): Promise<readonly Record<string, unknown>[]> {
    return await executeAt(this.address(database), sql);
  }

  /** Gives a database the name of another, cutting the connections of both. */
  async exchange(name: string, other: string): Promise<void> {
    const cut = `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname IN ('${name}', '${other}')`;
    const renames = [`${name} RENAME TO ${name}_gone`, `${other} RENAME TO ${name}`];
    for (const rename of renames) {
      await this.execute('postgres', cut);
      await this.execute('postgres', `ALTER DATABASE ${rename}`);
    }
  }

  /** Ends all processes of the server at once, as a power failure does. */
  async kill(): Promise<void> {
    await this.end('SIGQUIT');
  }

  async remove(): Promise<void> {
    await this.end('SIGQUIT');
    rmSync(this.folder, { recursive: true, force: true });
  }

  private async end(signal: NodeJS.Signals): Promise<void> {
    const { server } = this;
    if (server === undefined || server.exitCode !== null) return;
    const ended = new Promise((resolve) => server.once('exit', resolve));
    server.kill(signal);
    await ended;
  }

  private async answers(): Promise<boolean> {
    return await this.execute('postgres', 'SELECT 1').then(
      () => true,
      () => false,
    );
  }
}

/** The name of the database in a connection string. */
export function databaseOf(address: string): string {
  return /\/(\w+)\?/.exec(address)?.[1] ?? '';
}

/** Runs statements on a connection of its own. */
export async function executeAt(address: string, sql: string): Promise<readonly Record<string, unknown>[]> {
  const client = new pg.Client(address);
  await client.connect();
  try {
    return (await client.query<Record<string, unknown>>(sql)).rows;
  } finally {
    await client.end();
  }
}

function program(name: string): string {
  return join(programs ?? '', name);
}
