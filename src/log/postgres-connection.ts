/**
 * Connections to the PostgreSQL server that keeps a log: where to, under which limits, and what its failures mean.
 *
 * Host, user, password and TLS come from the connection string or from the environment variables and the password file of libpq. A
 * password is in no refusal and no log line: refusals name host, port and database, and carry no cause that repeats the string.
 */

import { isIP } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

import pg from 'pg';
import type { ClientConfig, PoolClient, QueryResultRow } from 'pg';

import { excerpt } from '../../attestation/core/bytes.ts';
import { RefusalError, defineRefusals } from '../../attestation/core/refusal.ts';
import { storageBusyRefusals, storageRefusals } from './storage.ts';

export const connectionRefusals = defineRefusals('usage', {
  'log-connection': {
    means: 'The connection to the database of the log is not described as it must be.',
    hint: 'Write postgresql://user@host:port/database?sslmode=verify-full. Over a network the server has to be verified by TLS.',
  },
});

/** Nobody waits longer for the lock of another writer; a holder that is gone loses it sooner. */
const LOCK_MILLISECONDS = 20_000;
const STATEMENT_MILLISECONDS = 30_000;
/** For a server that does not answer at all. */
const QUERY_MILLISECONDS = 35_000;
const CONNECT_MILLISECONDS = 5_000;
/** A turn lasts as long as witnesses take; then its holder has lost it. */
const IDLE_IN_TURN_MILLISECONDS = 120_000;
/** Waits before a lost connection is made anew: together longer than a restart of the database takes. */
const RECONNECT_MILLISECONDS = [50, 200, 1000, 3000, 5000, 5000, 5000];
/** Two turns and a write within one of them. */
const WRITING_CONNECTIONS = 3;
const READING_CONNECTIONS = 4;

/** SQLSTATE: lock not available, query cancelled (a timeout), serialization failure, deadlock. */
const BUSY = new Set(['55P03', '57014', '40001', '40P01']);

/** Asks the database. Values are sent apart from the statement. */
export type Query = <Row extends QueryResultRow>(
  statement: string,
  values?: readonly unknown[],
) => Promise<readonly Row[]>;

export class PostgresConnection {
  /** Host, port and database, as refusals name them. */
  readonly label: string;
  private readonly readers: pg.Pool;
  private readonly writers: pg.Pool;

  /** @param connection `postgresql://…`; from the operator @throws RefusalError `log-connection` */
  constructor(connection: string) {
    const config = configOf(connection);
    this.label = checkedLabel(config);
    this.readers = poolOf(config, READING_CONNECTIONS);
    this.writers = poolOf(config, WRITING_CONNECTIONS);
  }

  /** One statement that changes nothing. @throws RefusalError `log-storage-failed`, `log-storage-busy` */
  async read<Row extends QueryResultRow>(
    statement: string,
    values: readonly unknown[] = [],
  ): Promise<readonly Row[]> {
    return await this.persist(async () => (await this.readers.query<Row>(statement, [...values])).rows);
  }

  /**
   * Runs work in a transaction, once more on a new connection each time that one is lost: work must notice when it was
   * committed all the same.
   *
   * @throws RefusalError `log-storage-failed`, `log-storage-busy`, and those of the work
   */
  async write<T>(work: (query: Query) => Promise<T>): Promise<T> {
    return await this.persist(() => this.transact(work));
  }

  /**
   * Begins a transaction, and does work that is not part of it before the transaction ends.
   *
   * @param begin runs in the transaction, and anew when the connection is lost
   */
  async hold<T>(begin: (query: Query) => Promise<void>, work: () => Promise<T>): Promise<T> {
    const client = await this.persist(() => this.beginHeld(begin));
    try {
      return await work();
    } finally {
      // What was held goes with the connection, whether or not it ends in good order.
      await client.query('COMMIT').then(
        () => {
          client.release();
        },
        () => {
          client.release(true);
        },
      );
    }
  }

  async close(): Promise<void> {
    await Promise.all([this.readers.end(), this.writers.end()]);
  }

  private async beginHeld(begin: (query: Query) => Promise<void>): Promise<PoolClient> {
    const client = await connect(this.writers);
    try {
      await client.query('BEGIN ISOLATION LEVEL READ COMMITTED');
      await begin(queryOf(client));
      return client;
    } catch (error) {
      client.release(true);
      throw error;
    }
  }

  private async transact<T>(work: (query: Query) => Promise<T>): Promise<T> {
    const client = await connect(this.writers);
    try {
      await client.query('BEGIN ISOLATION LEVEL READ COMMITTED');
      const result = await work(queryOf(client));
      await client.query('COMMIT');
      client.release();
      return result;
    } catch (error) {
      // Closing the connection ends the transaction in every state that it may be in.
      client.release(true);
      throw error;
    }
  }

  private async persist<T>(attempt: () => Promise<T>): Promise<T> {
    let lost = false;
    for (const wait of RECONNECT_MILLISECONDS) {
      try {
        return await attempt();
      } catch (error) {
        if (!isConnectionLost(error)) throw this.refusalOf(error, lost);
        lost = true;
      }
      await delay(wait);
    }
    try {
      return await attempt();
    } catch (error) {
      throw this.refusalOf(error, true);
    }
  }

  /** @param unsure whether an earlier attempt may have been committed: then being busy is not the whole truth */
  private refusalOf(error: unknown, unsure: boolean): RefusalError {
    if (error instanceof RefusalError) return error as RefusalError;
    const state = sqlStateOf(error);
    const found = excerpt(error instanceof Error ? error.message : 'an unknown error');
    const facts = { field: this.label, expected: 'a working database', found };
    if (state !== undefined && BUSY.has(state) && !unsure) {
      return storageBusyRefusals.error('log-storage-busy', facts, { cause: error });
    }
    return storageRefusals.error('log-storage-failed', facts, { cause: error });
  }
}

/** The SQLSTATE of what the database itself answered. */
export function sqlStateOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.code : undefined;
}

/** Whether nobody knows what the database made of the last statement, or it said that it goes down. */
function isConnectionLost(error: unknown): boolean {
  if (error instanceof RefusalError) return false;
  const state = sqlStateOf(error);
  return state === undefined || state.startsWith('08') || state.startsWith('57P');
}

async function connect(pool: pg.Pool): Promise<PoolClient> {
  const client = await pool.connect();
  // While it is checked out the pool does not listen; the query that runs or comes next fails all the same.
  client.off('error', ignore).on('error', ignore);
  return client;
}

function ignore(): void {
  // Said again by the next query.
}

function queryOf(client: PoolClient): Query {
  return async <Row extends QueryResultRow>(statement: string, values: readonly unknown[] = []) =>
    (await client.query<Row>(statement, [...values])).rows;
}

function poolOf(config: ClientConfig, max: number): pg.Pool {
  const pool = new pg.Pool({ ...config, max });
  pool.on('error', ignore);
  return pool;
}

function configOf(connectionString: string): ClientConfig {
  return {
    connectionString,
    application_name: 'weightgate',
    keepAlive: true,
    connectionTimeoutMillis: CONNECT_MILLISECONDS,
    lock_timeout: LOCK_MILLISECONDS,
    statement_timeout: STATEMENT_MILLISECONDS,
    query_timeout: QUERY_MILLISECONDS,
    idle_in_transaction_session_timeout: IDLE_IN_TURN_MILLISECONDS,
  };
}

/** @throws RefusalError `log-connection` for what is no connection string, and for one that trusts the network */
function checkedLabel(config: ClientConfig): string {
  const client = clientOf(config);
  const { host, port, database = '' } = client;
  // The types know of switches only.
  const ssl: unknown = client.ssl;
  const label = `${host}:${port}/${database}`;
  if (host.startsWith('/') || isLoopback(host)) return label;
  const unverified =
    typeof ssl === 'object' &&
    ssl !== null &&
    'rejectUnauthorized' in ssl &&
    ssl.rejectUnauthorized === false;
  if (Boolean(ssl) && !unverified) return label;
  throw connectionRefusals.error('log-connection', {
    field: label,
    expected: 'TLS that verifies the server (sslmode=verify-full)',
    found: unverified ? 'TLS that verifies nothing' : 'no TLS',
  });
}

/** Not connected; it tells what string and environment come to. The parser's own error repeats the string. */
function clientOf(config: ClientConfig): pg.Client {
  try {
    if (!/^postgres(?:ql)?:\/\//.test(config.connectionString ?? '')) throw new TypeError('another scheme');
    return new pg.Client(config);
  } catch {
    throw connectionRefusals.error('log-connection', {
      field: 'log.connection',
      expected: 'postgresql://…',
      found: 'something else',
    });
  }
}

function isLoopback(host: string): boolean {
  return host === 'localhost' || host === '::1' || (isIP(host) === 4 && host.startsWith('127.'));
}
