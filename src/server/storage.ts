/**
 * What the server must remember besides the log: open challenges, credentials that wait for their answer, leases
 * that may be renewed, and what is known of machines. Embedded SQLite; every change is on disk before
 * its method returns, so that a restart revives no nonce (docs/spec/release-protocol.md, RP-15).
 */

import { DatabaseSync, type SQLInputValue, type StatementSync } from 'node:sqlite';
import { pathToFileURL } from 'node:url';

import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const storageRefusals = defineRefusals('environment', {
  'storage-not-opened': {
    means: "The server's database could not be opened.",
    hint: 'Check that the path is the home of a server, that this user may write there, and that no other server runs on it.',
  },
  'storage-version': {
    means: 'The database was made by another version of the server.',
    hint: 'Start the version that made it, or migrate the home as its release notes say.',
  },
});

/** A nonce that was handed out for one release request. */
export interface Challenge {
  readonly challenge: string;
  /** 32 bytes. */
  readonly nonce: Uint8Array;
  readonly lab: string;
  readonly manifestDigest: string;
  /** POSIX seconds; not valid any more from then on. */
  readonly expiresAt: number;
  /** Its place in the one order of all challenges and all changes of machines (LC-31); given by the storage. */
  readonly opened: number;
}

/** What became of a challenge that a request names. */
export type Consumption =
  { readonly outcome: 'consumed'; readonly challenge: Challenge } | { readonly outcome: 'used' | 'unknown' };

/** An enrolment that waits for the answer to its credential. The credential itself is not kept. */
export interface PendingEnrolment {
  readonly enrolment: string;
  /** SHA-256 of the credential, 32 bytes. */
  readonly credentialDigest: Uint8Array;
  readonly lab: string;
  /** Lower-case hex, as in the log. */
  readonly attestationKeyName: string;
  readonly endorsementKeyDigest: string;
  readonly endorsementCertificateDigest: string;
  readonly simulated: boolean;
  /** Whether what was known of the machine is to be forgotten (LC-32). */
  readonly anew: boolean;
  /** The verifier's enrolment record of the machine, canonical JSON. */
  readonly record: Uint8Array;
  /** POSIX seconds. */
  readonly expiresAt: number;
}

/** A certification that waits for its statement. */
export interface PendingCertification {
  readonly certification: string;
  /** 32 bytes. */
  readonly nonce: Uint8Array;
  readonly lab: string;
  /** TPMT_PUBLIC of the enrolled key. */
  readonly certifyingKey: Uint8Array;
  /** TPMT_PUBLIC of the key to enrol. */
  readonly attestationKey: Uint8Array;
  /** POSIX seconds. */
  readonly expiresAt: number;
}

/** What the verifier knows of an enrolled machine. */
export interface MachineRecord {
  /** Lower-case hex SHA-256 of the attestation key's Name: how evidence names the machine (RP-17). */
  readonly identity: string;
  /** Lower-case hex, as in the log. */
  readonly attestationKeyName: string;
  /** Lower-case hex: the TPM, of which there may be several attestation keys. */
  readonly endorsementKeyDigest: string;
  /** Canonical JSON of the verifier's own form. */
  readonly record: Uint8Array;
}

/** A record as it stands. */
export interface KnownMachine extends MachineRecord {
  /** The place of its last change in the order of {@link Challenge.opened}. */
  readonly moved: number;
}

/** To whom a lease was granted: only the same may renew it (RP-30). */
export interface LeaseRecord {
  readonly lease: string;
  readonly lab: string;
  readonly manifestDigest: string;
  /** Names of the devices that the evidence proved, in one text. */
  readonly machine: string;
  /** The counters of the TPM among them, in one text: a lease ends with the start of the machine (LC-16). */
  readonly start: string;
  /** POSIX seconds. */
  readonly endsAt: number;
}

/** What a decision changes. */
export interface KeptDecision {
  readonly lease: LeaseRecord | null;
  readonly machines: readonly MachineRecord[];
  /** POSIX seconds. */
  readonly now: number;
}

const SCHEMA_VERSION = 5;
/** What version 2 lacks. */
const CERTIFICATION_SCHEMA = `
  CREATE TABLE certifications (
    certification TEXT PRIMARY KEY, nonce BLOB NOT NULL, lab TEXT NOT NULL, certifying_key BLOB NOT NULL,
    attestation_key BLOB NOT NULL, expires_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX certifications_by_expiry ON certifications (expires_at);
`;
/** What version 3 lacks. */
const CONTINUITY_SCHEMA = `
  CREATE TABLE moments (place INTEGER NOT NULL) STRICT;
  INSERT INTO moments VALUES (0);
  ALTER TABLE challenges ADD COLUMN opened INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE machines ADD COLUMN endorsement_key TEXT NOT NULL DEFAULT '';
  ALTER TABLE machines ADD COLUMN moved INTEGER NOT NULL DEFAULT 0;
  DELETE FROM enrolments;
  ALTER TABLE enrolments ADD COLUMN anew INTEGER NOT NULL DEFAULT 0;
  UPDATE machines SET endorsement_key = json_extract(CAST(record AS TEXT), '$.ekPublicDigest');
  CREATE INDEX machines_by_endorsement_key ON machines (endorsement_key);
  ALTER TABLE leases ADD COLUMN start TEXT NOT NULL DEFAULT '';
`;
const SCHEMA = `
  CREATE TABLE challenges (
    challenge TEXT PRIMARY KEY, nonce BLOB NOT NULL, lab TEXT NOT NULL, manifest_digest TEXT NOT NULL,
    expires_at INTEGER NOT NULL, consumed INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE INDEX challenges_by_expiry ON challenges (expires_at);
  CREATE TABLE enrolments (
    enrolment TEXT PRIMARY KEY, credential_digest BLOB NOT NULL, lab TEXT NOT NULL,
    attestation_key_name TEXT NOT NULL, endorsement_key_digest TEXT NOT NULL,
    endorsement_certificate_digest TEXT NOT NULL, simulated INTEGER NOT NULL, record BLOB NOT NULL,
    expires_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX enrolments_by_expiry ON enrolments (expires_at);
  CREATE TABLE machines (
    identity TEXT PRIMARY KEY, attestation_key_name TEXT NOT NULL, record BLOB NOT NULL
  ) STRICT;
  CREATE TABLE leases (
    lease TEXT PRIMARY KEY, lab TEXT NOT NULL, manifest_digest TEXT NOT NULL, machine TEXT NOT NULL,
    ends_at INTEGER NOT NULL
  ) STRICT;
  CREATE INDEX leases_by_end ON leases (ends_at);
  ${CERTIFICATION_SCHEMA}
  ${CONTINUITY_SCHEMA}
`;

/**
 * Versions up to 4 held requests and collateral, without the rest that a decision is derived from (docs/spec/replay.md,
 * RD-3). What they hold stays in them; a database of version 1 is not given tables for it any more.
 */
const NOTHING = '';

/** What each version lacks that came before the current one. */
const MIGRATIONS: ReadonlyMap<number, string> = new Map([
  [1, NOTHING],
  [2, CERTIFICATION_SCHEMA],
  [3, CONTINUITY_SCHEMA],
  [4, NOTHING],
]);

/** Of one record. */
const MAX_RECORD_BYTES = 16 * 1024;
/** How long a used or expired challenge is kept, so that a repeat is told "used" and not "unknown". */
const KEPT_AFTER_EXPIRY_SECONDS = 600;

/** Column aliases make a row the value that the caller reads; the schema above guarantees the types. */
const SQL = {
  countChallenges: 'SELECT count(*) AS count FROM challenges WHERE consumed = 0 AND expires_at > ?',
  insertChallenge:
    'INSERT INTO challenges (challenge, nonce, lab, manifest_digest, expires_at, opened) VALUES (?, ?, ?, ?, ?, ?)',
  consumeChallenge: `UPDATE challenges SET consumed = 1 WHERE challenge = ? AND consumed = 0
    RETURNING challenge, nonce, lab, manifest_digest AS manifestDigest, expires_at AS expiresAt, opened`,
  findChallenge: 'SELECT 1 FROM challenges WHERE challenge = ?',
  purgeChallenges: 'DELETE FROM challenges WHERE expires_at <= ?',
  countEnrolments: 'SELECT count(*) AS count FROM enrolments WHERE expires_at > ?',
  insertEnrolment: `INSERT INTO enrolments (enrolment, credential_digest, lab, attestation_key_name,
    endorsement_key_digest, endorsement_certificate_digest, simulated, anew, record, expires_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
  takeEnrolment: `DELETE FROM enrolments WHERE enrolment = ? RETURNING enrolment,
    credential_digest AS credentialDigest, lab, attestation_key_name AS attestationKeyName,
    endorsement_key_digest AS endorsementKeyDigest,
    endorsement_certificate_digest AS endorsementCertificateDigest, simulated, anew, record, expires_at AS expiresAt`,
  purgeEnrolments: 'DELETE FROM enrolments WHERE expires_at <= ?',
  countCertifications: 'SELECT count(*) AS count FROM certifications WHERE expires_at > ?',
  insertCertification: 'INSERT INTO certifications VALUES (?, ?, ?, ?, ?, ?)',
  takeCertification: `DELETE FROM certifications WHERE certification = ? RETURNING certification, nonce, lab,
    certifying_key AS certifyingKey, attestation_key AS attestationKey, expires_at AS expiresAt`,
  purgeCertifications: 'DELETE FROM certifications WHERE expires_at <= ?',
  nextMoment: 'UPDATE moments SET place = place + 1 RETURNING place',
  upsertMachine: `INSERT INTO machines (identity, attestation_key_name, endorsement_key, record, moved)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (identity) DO UPDATE SET record = excluded.record, moved = excluded.moved`,
  findMachine: `SELECT identity, attestation_key_name AS attestationKeyName,
    endorsement_key AS endorsementKeyDigest, record, moved FROM machines WHERE identity = ?`,
  findMachinesOfTpm: `SELECT identity, attestation_key_name AS attestationKeyName,
    endorsement_key AS endorsementKeyDigest, record, moved FROM machines
    WHERE endorsement_key = ? ORDER BY moved DESC`,
  insertLease:
    'INSERT INTO leases (lease, lab, manifest_digest, machine, ends_at, start) VALUES (?, ?, ?, ?, ?, ?)',
  findLease: `SELECT lease, lab, manifest_digest AS manifestDigest, machine, start, ends_at AS endsAt FROM leases
    WHERE lease = ?`,
  findLiveStarts: 'SELECT DISTINCT start FROM leases WHERE machine = ? AND ends_at > ?',
  purgeLeases: 'DELETE FROM leases WHERE ends_at <= ?',
} as const;

/** One writer on one database file. All methods return after their change is durable. */
export class ServerStorage {
  private readonly database: DatabaseSync;
  private readonly statements: Readonly<Record<keyof typeof SQL, StatementSync>>;

  private constructor(database: DatabaseSync) {
    this.database = database;
    this.statements = Object.fromEntries(
      Object.entries(SQL).map(([name, sql]) => [name, database.prepare(sql)]),
    ) as Record<keyof typeof SQL, StatementSync>;
  }

  /** Makes a new, empty database. @throws RefusalError `storage-not-opened`, `storage-version` when it exists */
  static create(path: string): ServerStorage {
    return ServerStorage.connect(path, 'rwc', (database) => {
      if (versionOf(database) !== 0) refuseVersion(path, 'no database', versionOf(database));
      database.exec(`BEGIN; ${SCHEMA} PRAGMA user_version = ${SCHEMA_VERSION}; COMMIT;`);
    });
  }

  /** @throws RefusalError `storage-not-opened`, `storage-version` */
  static open(path: string): ServerStorage {
    return ServerStorage.connect(path, 'rw', (database) => {
      migrate(database);
      const version = versionOf(database);
      if (version !== SCHEMA_VERSION) refuseVersion(path, `version ${SCHEMA_VERSION}`, version);
    });
  }

  /** @param mode of SQLite's file names: only `rwc` makes a file that is not there */
  private static connect(
    path: string,
    mode: 'rw' | 'rwc',
    prepare: (database: DatabaseSync) => void,
  ): ServerStorage {
    const location = pathToFileURL(path);
    location.searchParams.set('mode', mode);
    let database: DatabaseSync | undefined;
    try {
      database = new DatabaseSync(location, { timeout: 1000 });
      database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;');
      prepare(database);
      return new ServerStorage(database);
    } catch (cause) {
      database?.close();
      if (cause instanceof Error && cause.name === 'RefusalError') throw cause;
      const found = cause instanceof Error ? cause.message : 'another failure';
      throw storageRefusals.error(
        'storage-not-opened',
        { field: path, expected: 'a database of this server', found },
        { cause },
      );
    }
  }

  /**
   * Keeps a new challenge, unless too many are open (RP-14).
   *
   * @param now POSIX seconds
   * @returns whether it was kept
   */
  openChallenge(challenge: Omit<Challenge, 'opened'>, maxOpen: number, now: number): boolean {
    return this.inTransaction(() => {
      this.statements.purgeChallenges.run(now - KEPT_AFTER_EXPIRY_SECONDS);
      if (countOf(this.statements.countChallenges, now) >= maxOpen) return false;
      const { nonce, lab, manifestDigest, expiresAt } = challenge;
      const opened = this.nextMoment();
      this.statements.insertChallenge.run(challenge.challenge, nonce, lab, manifestDigest, expiresAt, opened);
      return true;
    });
  }

  /**
   * Uses a challenge up, whether or not it has expired (RP-15, W4). `get` returns a row of RETURNING before the change
   * is committed and hides that the commit failed: the transaction makes that an error.
   */
  consumeChallenge(challenge: string): Consumption {
    return this.inTransaction(() => {
      const row = this.statements.consumeChallenge.get(challenge);
      if (row !== undefined) return { outcome: 'consumed', challenge: { ...row } as unknown as Challenge };
      return { outcome: this.statements.findChallenge.get(challenge) === undefined ? 'unknown' : 'used' };
    });
  }

  /** Keeps a new enrolment, unless too many wait. @param now POSIX seconds @returns whether it was kept */
  openEnrolment(pending: PendingEnrolment, maxOpen: number, now: number): boolean {
    return this.inTransaction(() => {
      this.statements.purgeEnrolments.run(now);
      if (countOf(this.statements.countEnrolments, now) >= maxOpen) return false;
      this.statements.insertEnrolment.run(
        pending.enrolment,
        pending.credentialDigest,
        pending.lab,
        pending.attestationKeyName,
        pending.endorsementKeyDigest,
        pending.endorsementCertificateDigest,
        pending.simulated ? 1 : 0,
        pending.anew ? 1 : 0,
        pending.record,
        pending.expiresAt,
      );
      return true;
    });
  }

  /** Takes an enrolment out: whatever its answer, there is no second one (RP-11). Committed as a challenge is. */
  takeEnrolment(enrolment: string): PendingEnrolment | undefined {
    const row = this.inTransaction(() => this.statements.takeEnrolment.get(enrolment));
    if (row === undefined) return undefined;
    const flags = { simulated: row['simulated'] === 1, anew: row['anew'] === 1 };
    return { ...row, ...flags } as unknown as PendingEnrolment;
  }

  /** Keeps a new certification, unless too many wait. @param now POSIX seconds @returns whether it was kept */
  openCertification(pending: PendingCertification, maxOpen: number, now: number): boolean {
    return this.inTransaction(() => {
      this.statements.purgeCertifications.run(now);
      if (countOf(this.statements.countCertifications, now) >= maxOpen) return false;
      const { certification, nonce, lab, certifyingKey, attestationKey, expiresAt } = pending;
      this.statements.insertCertification.run(
        certification,
        nonce,
        lab,
        certifyingKey,
        attestationKey,
        expiresAt,
      );
      return true;
    });
  }

  /** Takes a certification out: whatever its statement, there is no second one. Committed as a challenge is. */
  takeCertification(certification: string): PendingCertification | undefined {
    const row = this.inTransaction(() => this.statements.takeCertification.get(certification));
    return row === undefined ? undefined : ({ ...row } as unknown as PendingCertification);
  }

  /** Keeps what the verifier has to know of a machine, in place of what it knew. */
  keepMachine(machine: MachineRecord): void {
    this.inTransaction(() => {
      this.putMachine(machine);
    });
  }

  private putMachine({ identity, attestationKeyName, endorsementKeyDigest, record }: MachineRecord): void {
    const moved = this.nextMoment();
    this.statements.upsertMachine.run(identity, attestationKeyName, endorsementKeyDigest, record, moved);
  }

  findMachine(identity: string): KnownMachine | undefined {
    const row = this.statements.findMachine.get(identity);
    return row === undefined ? undefined : ({ ...row } as unknown as KnownMachine);
  }

  /** The records of all attestation keys of one TPM, the one that changed last first. */
  findMachinesOfTpm(endorsementKeyDigest: string): readonly KnownMachine[] {
    const rows = this.statements.findMachinesOfTpm.all(endorsementKeyDigest);
    return rows.map((row) => ({ ...row }) as unknown as KnownMachine);
  }

  /**
   * Keeps what a decision changes, before the decision is logged: for a grant its lease, and what the accepted evidence
   * says about the machines.
   */
  keepDecision({ lease, machines, now }: KeptDecision): void {
    this.inTransaction(() => {
      this.statements.purgeLeases.run(now - KEPT_AFTER_EXPIRY_SECONDS);
      for (const machine of machines) this.putMachine(machine);
      if (lease === null) return;
      const { lab, manifestDigest, machine, endsAt, start } = lease;
      this.statements.insertLease.run(lease.lease, lab, manifestDigest, machine, endsAt, start);
    });
  }

  findLease(lease: string): LeaseRecord | undefined {
    const row = this.statements.findLease.get(lease);
    return row === undefined ? undefined : ({ ...row } as unknown as LeaseRecord);
  }

  /** The starts of a machine to which leases were granted that have not ended. @param at POSIX seconds */
  findLiveStarts(machine: string, at: number): readonly string[] {
    return this.statements.findLiveStarts.all(machine, at).map(({ start }) => String(start));
  }

  close(): void {
    this.database.close();
  }

  private nextMoment(): number {
    return Number(this.statements.nextMoment.get()?.['place'] ?? 0);
  }

  private inTransaction<T>(change: () => T): T {
    this.database.exec('BEGIN IMMEDIATE');
    try {
      const result = change();
      this.database.exec('COMMIT');
      return result;
    } catch (cause) {
      if (this.database.isTransaction) this.database.exec('ROLLBACK');
      throw cause;
    }
  }
}

function countOf(statement: StatementSync, ...values: SQLInputValue[]): number {
  return Number(statement.get(...values)?.['count'] ?? 0);
}

/** Brings a database of an earlier version up to the current one, a version at a time. */
function migrate(database: DatabaseSync): void {
  for (let version = versionOf(database); ; version += 1) {
    const missing = MIGRATIONS.get(version);
    if (missing === undefined) return;
    database.exec(`BEGIN; ${missing} PRAGMA user_version = ${version + 1};`);
    if (missing === CONTINUITY_SCHEMA) completeRecords(database);
    database.exec('COMMIT;');
  }
}

/** Records of machines from before version 4 remember neither a ratchet, nor when they were made, nor a freeze. */
function completeRecords(database: DatabaseSync): void {
  const update = database.prepare('UPDATE machines SET record = ? WHERE identity = ?');
  for (const row of database.prepare('SELECT identity, record FROM machines').all()) {
    const known = decodeCanonicalJson(row['record'] as Uint8Array, { maxBytes: MAX_RECORD_BYTES }, 'machine');
    const record = known as Readonly<Record<string, JsonValue>>;
    const lastSeen = record['lastSeen'] as Readonly<Record<string, JsonValue>> | null;
    const completed = {
      ...record,
      frozen: null,
      lastSeen: lastSeen && { ...lastSeen, at: 0, ratchet: null },
    };
    update.run(encodeCanonicalJson(completed), String(row['identity']));
  }
}

function versionOf(database: DatabaseSync): number {
  return Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
}

function refuseVersion(path: string, expected: string, found: number): never {
  throw storageRefusals.error('storage-version', { field: path, expected, found: `version ${found}` });
}
