/**
 * The tables of a log in PostgreSQL: one log a database, all in a schema of its own.
 *
 * Triggers refuse to change or delete what was written, and let the head only grow or be fenced. They stop mistakes, not whoever
 * owns the database (docs/spec/release-log.md, section 8). There is no sequence: an index follows from the head row.
 */

export const POSTGRES_SCHEMA_VERSION = 1;

/** SQLSTATE of `CREATE SCHEMA` where there is one already. */
export const DUPLICATE_SCHEMA = '42P06';

export const CREATE_SCHEMA = `
  CREATE SCHEMA weightgate_log;
  CREATE TABLE weightgate_log.format (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    version INTEGER NOT NULL
  );
  CREATE TABLE weightgate_log.entries (
    position BIGINT PRIMARY KEY CHECK (position >= 0),
    entry BYTEA NOT NULL CHECK (octet_length(entry) BETWEEN 1 AND 65535),
    idempotency_key TEXT UNIQUE,
    batch UUID NOT NULL
  );
  CREATE TABLE weightgate_log.nodes (
    level INTEGER NOT NULL,
    position BIGINT NOT NULL,
    hash BYTEA NOT NULL CHECK (octet_length(hash) = 32),
    PRIMARY KEY (level, position)
  );
  CREATE TABLE weightgate_log.head (
    only_row BOOLEAN PRIMARY KEY DEFAULT TRUE CHECK (only_row),
    size BIGINT NOT NULL,
    root BYTEA NOT NULL CHECK (octet_length(root) = 32),
    epoch BIGINT NOT NULL
  );
  CREATE TABLE weightgate_log.checkpoints (size BIGINT PRIMARY KEY, note TEXT NOT NULL);

  CREATE FUNCTION weightgate_log.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN RAISE EXCEPTION '% are never changed or deleted', TG_TABLE_NAME; END $$;
  CREATE TRIGGER entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON weightgate_log.entries
    FOR EACH STATEMENT EXECUTE FUNCTION weightgate_log.refuse_change();
  CREATE TRIGGER nodes_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON weightgate_log.nodes
    FOR EACH STATEMENT EXECUTE FUNCTION weightgate_log.refuse_change();
  CREATE TRIGGER head_stays BEFORE DELETE OR TRUNCATE ON weightgate_log.head
    FOR EACH STATEMENT EXECUTE FUNCTION weightgate_log.refuse_change();

  CREATE FUNCTION weightgate_log.refuse_other_head() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
      IF NEW.epoch = OLD.epoch AND NEW.size > OLD.size THEN RETURN NEW; END IF;
      IF NEW.epoch > OLD.epoch AND NEW.size = OLD.size AND NEW.root = OLD.root THEN RETURN NEW; END IF;
      RAISE EXCEPTION 'the head only grows';
    END $$;
  CREATE TRIGGER head_grows BEFORE UPDATE ON weightgate_log.head
    FOR EACH ROW EXECUTE FUNCTION weightgate_log.refuse_other_head();
`;

/** Values of no writer, so that they are part of the statements. */
export const SQL = {
  insertFormat: 'INSERT INTO weightgate_log.format (version) VALUES ($1)',
  insertHead: 'INSERT INTO weightgate_log.head (size, root, epoch) VALUES (0, $1, 1)',
  isThere: `SELECT to_regclass('weightgate_log.format') IS NOT NULL AS "isThere"`,
  format: 'SELECT version FROM weightgate_log.format',
  head: 'SELECT size, root, epoch FROM weightgate_log.head',
  lockHead: `SELECT size, root, epoch, current_setting('synchronous_commit') AS synchronous
    FROM weightgate_log.head FOR UPDATE`,
  moveHead: 'UPDATE weightgate_log.head SET size = $1, root = $2 WHERE size = $3 AND epoch = $4',
  fence: 'UPDATE weightgate_log.head SET epoch = epoch + 1',
  insertEntries: `INSERT INTO weightgate_log.entries (position, entry, idempotency_key, batch)
    SELECT $1::bigint + place - 1, entry, idempotency_key, $4::uuid
    FROM unnest($2::bytea[], $3::text[]) WITH ORDINALITY AS fresh (entry, idempotency_key, place)`,
  insertNodes: `INSERT INTO weightgate_log.nodes (level, position, hash)
    SELECT * FROM unnest($1::integer[], $2::bigint[], $3::bytea[])`,
  findBatch: 'SELECT 1 FROM weightgate_log.entries WHERE position = $1 AND batch = $2',
  entries:
    'SELECT entry FROM weightgate_log.entries WHERE position >= $1 AND position < $2 ORDER BY position',
  nodes: `SELECT hash FROM unnest($1::integer[], $2::bigint[]) WITH ORDINALITY AS wanted (level, position, place)
    JOIN weightgate_log.nodes USING (level, position) ORDER BY place`,
  indexes:
    'SELECT idempotency_key AS key, position FROM weightgate_log.entries WHERE idempotency_key = ANY ($1)',
  // Two writers may sign one size (TL-24); a note with fewer cosignatures does not take the place of one with more.
  saveCheckpoint: `INSERT INTO weightgate_log.checkpoints AS known (size, note) VALUES ($1, $2)
    ON CONFLICT (size) DO UPDATE SET note = excluded.note
    WHERE octet_length(excluded.note) >= octet_length(known.note)`,
  newestCheckpoint: 'SELECT note FROM weightgate_log.checkpoints ORDER BY size DESC LIMIT 1',
  takeTurn: 'SELECT pg_advisory_xact_lock($1, $2)',
  settings: `SELECT current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
    current_setting('full_page_writes') AS full_page_writes, current_setting('server_encoding') AS server_encoding`,
} as const;
