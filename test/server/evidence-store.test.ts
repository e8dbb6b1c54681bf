import { cpSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { beforeEach, describe, expect, it, onTestFinished } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { digested, type Digested } from '../../src/server/decision-inputs.ts';
import { EvidenceStore, type KeptInputs } from '../../src/server/evidence-store.ts';
import { copyEvidenceStore } from '../../src/server/evidence-store-copy.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const DAY = 86_400;
let folder: string;

function open(keepDays: number | null = null): EvidenceStore {
  const store = EvidenceStore.open(folder, keepDays);
  onTestFinished(() => {
    store.close();
  });
  return store;
}

const part = (text: string): Digested => digested(toUtf8(text));

const decisionOf = (name: string, decidedAt: number, ...parts: readonly string[]): KeptInputs => ({
  inputs: part(`inputs of ${name}`),
  parts: parts.map(part),
  decidedAt,
});

beforeEach(async () => {
  folder = await temporaryFolder();
});

describe('an evidence store', () => {
  it('RD-6: keeps each content under its digest, and equal ones once', () => {
    const store = open();
    store.keep(decisionOf('a', 1, 'request a', 'list'));
    store.keep(decisionOf('b', 2, 'request b', 'list'));
    for (const text of ['inputs of a', 'inputs of b', 'request a', 'request b', 'list']) {
      expect(store.find(part(text).digest)).toEqual(toUtf8(text));
    }
    expect(store.find(part('never kept').digest)).toBeUndefined();
    const database = new DatabaseSync(join(folder, 'evidence.sqlite'), { readOnly: true });
    expect(database.prepare('SELECT count(*) AS count FROM contents').get()).toEqual({ count: 5 });
    database.close();
  });

  it('RD-2, RD-7: what was kept is there for a reader at once, and in what a crash leaves of the files', async () => {
    const store = open();
    store.keep(decisionOf('a', 1, 'request a'));
    const reader = EvidenceStore.read(folder);
    expect(reader.find(part('request a').digest)).toEqual(toUtf8('request a'));
    reader.close();
    // The files as they are while the writer still has them open: its end was not waited for.
    const left = await temporaryFolder();
    cpSync(folder, left, { recursive: true });
    const after = EvidenceStore.read(left);
    expect(after.find(part('inputs of a').digest)).toEqual(toUtf8('inputs of a'));
    after.close();
  });

  it('RD-7: is copied while its server writes, to one plain file, and never over anything', async () => {
    const store = open();
    store.keep(decisionOf('a', 1, 'request a'));
    const to = join(await temporaryFolder(), 'copy');
    await copyEvidenceStore(folder, to);
    store.keep(decisionOf('b', 2));
    expect(readdirSync(to)).toEqual(['evidence.sqlite']);
    const copy = EvidenceStore.read(to);
    expect(copy.find(part('request a').digest)).toEqual(toUtf8('request a'));
    expect(copy.find(part('inputs of b').digest)).toBeUndefined();
    copy.close();
    expect(await refusalCodeAsync(() => copyEvidenceStore(folder, to))).toBe('file-exists');
    const nothing = await temporaryFolder();
    const other = join(nothing, 'other');
    expect(await refusalCodeAsync(() => copyEvidenceStore(nothing, other))).toBe('evidence-store-not-opened');
    expect(readdirSync(nothing)).toEqual([]);
  });

  it('a decision that cannot be kept whole leaves nothing of itself', () => {
    const store = open();
    const broken = {
      inputs: part('inputs of a'),
      parts: [{ ...part('x'), bytes: null as unknown as Uint8Array }],
    };
    expect(() => {
      store.keep({ ...broken, decidedAt: 1 });
    }).toThrow(/NOT NULL/);
    expect(store.find(part('inputs of a').digest)).toBeUndefined();
    store.keep(decisionOf('a', 1));
    expect(store.find(part('inputs of a').digest)).toEqual(toUtf8('inputs of a'));
  });

  it('RD-6: a content that is not that of its digest is not there', () => {
    const store = open();
    store.keep(decisionOf('a', 1, 'request a'));
    const database = new DatabaseSync(join(folder, 'evidence.sqlite'));
    database
      .prepare('UPDATE contents SET content = ? WHERE digest = ?')
      .run(toUtf8('x'), part('request a').digest);
    database.close();
    expect(store.find(part('request a').digest)).toBeUndefined();
    expect(store.find(part('inputs of a').digest)).toBeDefined();
  });

  it('RD-9: deletes what was kept for long enough, but no part that another decision has, and says so', () => {
    const store = open(30);
    store.keep(decisionOf('a', 1000, 'request a', 'list'));
    store.keep(decisionOf('b', 2000, 'request b', 'list'));
    store.keep(decisionOf('c', 1000 + 30 * DAY, 'request c'));
    expect(store.findDeletion(part('inputs of a').digest)).toBeUndefined();
    const deletedAt = 1001 + 30 * DAY;
    store.keep(decisionOf('d', deletedAt, 'request d'));
    for (const text of ['inputs of a', 'request a']) expect(store.find(part(text).digest)).toBeUndefined();
    for (const text of ['list', 'inputs of b', 'request c', 'request d']) {
      expect(store.find(part(text).digest)).toEqual(toUtf8(text));
    }
    expect(store.findDeletion(part('inputs of a').digest)).toEqual({
      decidedAt: 1000,
      deletedAt,
      keepDays: 30,
    });
    expect(store.findDeletion(part('inputs of b').digest)).toBeUndefined();
  });

  it('RD-9: without a limit nothing is ever deleted', () => {
    const store = open();
    store.keep(decisionOf('a', 0));
    store.keep(decisionOf('b', 100_000 * DAY));
    expect(store.find(part('inputs of a').digest)).toBeDefined();
  });

  it('is not made by a reader, and another database is none, each by its code', () => {
    expect(refusalCode(() => EvidenceStore.read(folder))).toBe('evidence-store-not-opened');
    writeFileSync(join(folder, 'evidence.sqlite'), 'not a database, but long enough for one'.repeat(50));
    expect(refusalCode(() => EvidenceStore.read(folder))).toBe('evidence-store-not-opened');
  });

  it('refuses the database of another program', () => {
    const database = new DatabaseSync(join(folder, 'evidence.sqlite'));
    database.exec('CREATE TABLE contents (digest TEXT); PRAGMA user_version = 1;');
    database.close();
    expect(refusalCode(() => EvidenceStore.read(folder))).toBe('evidence-store-version');
    expect(refusalCode(() => EvidenceStore.open(folder, null))).toBe('evidence-store-version');
  });

  it('refuses to answer from a database that was damaged', () => {
    const database = new DatabaseSync(join(folder, 'evidence.sqlite'));
    database.exec('PRAGMA application_id = 1464288598; PRAGMA user_version = 1;');
    database.close();
    const store = EvidenceStore.read(folder);
    expect(refusalCode(() => store.find('00'))).toBe('evidence-store-damaged');
    store.close();
  });
});
