import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import {
  ServerStorage,
  type Challenge,
  type KeptDecision,
  type LeaseRecord,
  type PendingCertification,
  type PendingEnrolment,
} from '../../src/server/storage.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { refusalCode } from '../support/refusal-code.ts';

let folder: string;
let path: string;
let storage: ServerStorage;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'weightgate-storage-'));
  path = join(folder, 'weightgate.sqlite');
  storage = ServerStorage.create(path);
});

afterEach(() => {
  storage.close();
  rmSync(folder, { recursive: true });
});

/** A reference that is checked at the commit alone: as on a full disk, the change passes and its commit fails. */
function failCommitsThat(change: 'UPDATE ON challenges' | 'DELETE ON enrolments'): void {
  const database = new DatabaseSync(path);
  database.exec(`CREATE TABLE targets (id INTEGER PRIMARY KEY);
    CREATE TABLE dangling (id INTEGER REFERENCES targets DEFERRABLE INITIALLY DEFERRED);
    CREATE TRIGGER commit_fails AFTER ${change} BEGIN INSERT INTO dangling VALUES (1); END;`);
  database.close();
}

function letCommitsPass(): void {
  const database = new DatabaseSync(path);
  database.exec('DROP TRIGGER commit_fails');
  database.close();
}

function reopen(): void {
  storage.close();
  storage = ServerStorage.open(path);
}

const challengeOf = (challenge: string, expiresAt = 1120): Omit<Challenge, 'opened'> => ({
  challenge,
  nonce: new Uint8Array(32).fill(7),
  lab: 'lab-a',
  manifestDigest: 'aa'.repeat(32),
  expiresAt,
});

const certificationOf = (certification: string): PendingCertification => ({
  certification,
  nonce: new Uint8Array(32).fill(9),
  lab: 'lab-a',
  certifyingKey: new Uint8Array([1]),
  attestationKey: new Uint8Array([2]),
  expiresAt: 1120,
});

const enrolmentOf = (enrolment: string): PendingEnrolment => ({
  enrolment,
  credentialDigest: new Uint8Array(32).fill(1),
  lab: 'lab-a',
  attestationKeyName: `000b${'11'.repeat(32)}`,
  endorsementKeyDigest: '22'.repeat(32),
  endorsementCertificateDigest: '33'.repeat(32),
  simulated: true,
  anew: false,
  record: new Uint8Array([123, 125]),
  expiresAt: 1120,
});

describe('challenges', () => {
  it('RP-15: a challenge is consumed once, and a repeat is told so', () => {
    expect(storage.openChallenge(challengeOf('c1'), 10, 1000)).toBe(true);
    const first = storage.consumeChallenge('c1');
    expect(first).toMatchObject({ outcome: 'consumed', challenge: challengeOf('c1') });
    expect(storage.consumeChallenge('c1')).toEqual({ outcome: 'used' });
    expect(storage.consumeChallenge('c2')).toEqual({ outcome: 'unknown' });
  });

  it('RP-15: a restart does not revive a nonce', () => {
    storage.openChallenge(challengeOf('c1'), 10, 1000);
    storage.openChallenge(challengeOf('c2'), 10, 1000);
    storage.consumeChallenge('c1');
    reopen();
    expect(storage.consumeChallenge('c1').outcome).toBe('used');
    expect(storage.consumeChallenge('c2').outcome).toBe('consumed');
  });

  it('RP-15: a challenge whose use could not be committed is not reported as consumed', () => {
    storage.openChallenge(challengeOf('c1'), 10, 1000);
    failCommitsThat('UPDATE ON challenges');
    expect(() => storage.consumeChallenge('c1')).toThrow(/FOREIGN KEY/);
    letCommitsPass();
    expect(storage.consumeChallenge('c1').outcome).toBe('consumed');
    expect(storage.consumeChallenge('c1').outcome).toBe('used');
  });

  it('RP-14: open challenges are bounded; used and expired ones make room', () => {
    for (const name of ['c1', 'c2']) expect(storage.openChallenge(challengeOf(name), 2, 1000)).toBe(true);
    expect(storage.openChallenge(challengeOf('c3'), 2, 1000)).toBe(false);
    storage.consumeChallenge('c1');
    expect(storage.openChallenge(challengeOf('c3'), 2, 1000)).toBe(true);
    expect(storage.openChallenge(challengeOf('c4', 2000), 2, 1120)).toBe(true);
  });

  it('RP-14: what expired long ago is forgotten', () => {
    storage.openChallenge(challengeOf('c1', 1120), 10, 1000);
    storage.openChallenge(challengeOf('c2', 9000), 10, 5000);
    expect(storage.consumeChallenge('c1').outcome).toBe('unknown');
  });
});

describe('pending enrolments', () => {
  it('RP-11: an enrolment is taken once, also across a restart', () => {
    expect(storage.openEnrolment(enrolmentOf('e1'), 10, 1000)).toBe(true);
    reopen();
    expect(storage.takeEnrolment('e1')).toEqual(enrolmentOf('e1'));
    expect(storage.takeEnrolment('e1')).toBeUndefined();
  });

  it('RP-11: an enrolment whose taking could not be committed is not handed out', () => {
    storage.openEnrolment(enrolmentOf('e1'), 10, 1000);
    failCommitsThat('DELETE ON enrolments');
    expect(() => storage.takeEnrolment('e1')).toThrow(/FOREIGN KEY/);
    letCommitsPass();
    expect(storage.takeEnrolment('e1')).toEqual(enrolmentOf('e1'));
    expect(storage.takeEnrolment('e1')).toBeUndefined();
  });

  it('RP-11: they are bounded, and expired ones make room', () => {
    expect(storage.openEnrolment(enrolmentOf('e1'), 1, 1000)).toBe(true);
    expect(storage.openEnrolment(enrolmentOf('e2'), 1, 1000)).toBe(false);
    expect(storage.openEnrolment(enrolmentOf('e2'), 1, 1120)).toBe(true);
    expect(storage.takeEnrolment('e1')).toBeUndefined();
  });
});

/** Of a machine, as far as a change of the schema looks at it. */
const OLD_RECORD = {
  version: 1,
  ekPublicDigest: 'ee',
  lastSeen: { clock: '5000', resetCount: 7, restartCount: 1 },
};

const machine = {
  identity: 'id',
  attestationKeyName: 'ak',
  endorsementKeyDigest: 'ek',
  record: new Uint8Array([9]),
};

const decisionOf = (lease: LeaseRecord | null = null): KeptDecision => ({
  lease,
  machines: [machine],
  now: 1000,
});

describe('decisions', () => {
  it('RP-30: keeps the lease of a grant, and what is known of the machine', () => {
    const lease = {
      lease: 'l1',
      lab: 'lab-a',
      manifestDigest: 'aa',
      machine: 'm',
      start: '7/0',
      endsAt: 2000,
    };
    storage.keepDecision(decisionOf(lease));
    storage.keepDecision(decisionOf());
    reopen();
    expect(storage.findLease('l1')).toEqual(lease);
    expect(storage.findLease('l2')).toBeUndefined();
    expect(storage.findMachine('id')).toMatchObject(machine);
    expect(storage.findMachine('other')).toBeUndefined();
  });

  it('a failed change leaves nothing of itself', () => {
    const lease = {
      lease: 'l1',
      lab: 'lab-a',
      manifestDigest: 'aa',
      machine: 'm',
      start: '7/0',
      endsAt: 2000,
    };
    storage.keepDecision(decisionOf(lease));
    const moved = storage.findMachine('id')?.moved;
    expect(() => {
      storage.keepDecision(decisionOf(lease));
    }).toThrow(/UNIQUE/);
    expect(storage.findMachine('id')?.moved).toBe(moved);
    expect(storage.openChallenge(challengeOf('c1'), 10, 1000)).toBe(true);
  });
});

describe('certifications', () => {
  it('EK-13: are taken once, also after a restart', () => {
    expect(storage.openCertification(certificationOf('x1'), 10, 1000)).toBe(true);
    reopen();
    expect(storage.takeCertification('x1')).toEqual(certificationOf('x1'));
    expect(storage.takeCertification('x1')).toBeUndefined();
    reopen();
    expect(storage.takeCertification('x1')).toBeUndefined();
  });

  it('EK-13: are bounded in number, expired ones not counted', () => {
    expect(storage.openCertification(certificationOf('x1'), 1, 1000)).toBe(true);
    expect(storage.openCertification(certificationOf('x2'), 1, 1000)).toBe(false);
    expect(storage.openCertification(certificationOf('x3'), 1, 1120)).toBe(true);
    expect(storage.takeCertification('x1')).toBeUndefined();
  });
});

describe('opening', () => {
  it('brings a database of version 1 up to date, and keeps what is in it', () => {
    storage.keepDecision(decisionOf());
    storage.close();
    const database = new DatabaseSync(path);
    database.exec('DROP TABLE certifications;');
    database.exec(`
      DROP TABLE moments; DROP INDEX machines_by_endorsement_key;
      ALTER TABLE challenges DROP COLUMN opened; ALTER TABLE enrolments DROP COLUMN anew;
      ALTER TABLE machines DROP COLUMN endorsement_key; ALTER TABLE machines DROP COLUMN moved;
      ALTER TABLE leases DROP COLUMN start;
    `);
    database.prepare('UPDATE machines SET record = ?').run(encodeCanonicalJson(OLD_RECORD));
    database.exec('PRAGMA user_version = 1;');
    database.close();
    storage = ServerStorage.open(path);
    expect(storage.findMachine('id')).toMatchObject({ attestationKeyName: 'ak' });
    expect(storage.openCertification(certificationOf('x1'), 10, 1000)).toBe(true);
  });

  it('LC-26, LC-30: completes the records of machines of an older database', () => {
    storage.keepDecision(decisionOf());
    const old = encodeCanonicalJson(OLD_RECORD);
    storage.keepMachine({ ...machine, record: old });
    storage.close();
    const database = new DatabaseSync(path);
    database.exec(`
      DROP TABLE moments; DROP INDEX machines_by_endorsement_key;
      ALTER TABLE challenges DROP COLUMN opened; ALTER TABLE enrolments DROP COLUMN anew;
      ALTER TABLE machines DROP COLUMN endorsement_key; ALTER TABLE machines DROP COLUMN moved;
      ALTER TABLE leases DROP COLUMN start; PRAGMA user_version = 3;
    `);
    database.close();
    storage = ServerStorage.open(path);
    const [known] = storage.findMachinesOfTpm('ee');
    const lastSeen = { ...OLD_RECORD.lastSeen, at: 0, ratchet: null };
    expect(known?.record).toEqual(encodeCanonicalJson({ ...OLD_RECORD, lastSeen, frozen: null }));
  });

  it('LC-31: challenges and changes of machines stand in one order', () => {
    storage.openChallenge(challengeOf('c1'), 10, 1000);
    storage.keepMachine(machine);
    storage.openChallenge(challengeOf('c2'), 10, 1000);
    const opened = ['c1', 'c2'].map((name) => {
      const consumption = storage.consumeChallenge(name);
      return consumption.outcome === 'consumed' ? consumption.challenge.opened : 0;
    });
    const moved = storage.findMachine('id')?.moved ?? 0;
    expect([opened[0]! < moved, moved < opened[1]!]).toEqual([true, true]);
  });

  it('LC-33: knows the starts of a machine whose leases have not ended', () => {
    const lease = { lab: 'lab-a', manifestDigest: 'aa', machine: 'm' };
    storage.keepDecision(decisionOf({ ...lease, lease: 'l1', start: '7/0', endsAt: 2000 }));
    storage.keepDecision(decisionOf({ ...lease, lease: 'l2', start: '8/0', endsAt: 3000 }));
    expect(storage.findLiveStarts('m', 2500)).toEqual(['8/0']);
    expect(storage.findLiveStarts('other', 1000)).toEqual([]);
  });

  it('refuses a second creation, a file that is no database and a missing folder, each by its code', () => {
    expect(refusalCode(() => ServerStorage.create(path))).toBe('storage-version');
    const other = join(folder, 'other.sqlite');
    writeFileSync(other, 'not a database, but long enough to be taken for one'.repeat(50));
    expect(refusalCode(() => ServerStorage.open(other))).toBe('storage-not-opened');
    const missing = join(folder, 'missing.sqlite');
    expect(refusalCode(() => ServerStorage.open(missing))).toBe('storage-not-opened');
    expect(existsSync(missing)).toBe(false);
  });
});
