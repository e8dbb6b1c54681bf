/** A checkpoint that is signed and witnessed anew although nothing was appended (WT-22). */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { describe, expect, it } from 'vitest';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { openCheckpoint, type VerifiedCheckpoint } from '../../src/log/checkpoint.ts';
import { createReleaseLog, openReleaseLog } from '../../src/log/log-folder.ts';
import { formatSignatureLine, parseNote } from '../../src/log/note.ts';
import type { CheckpointWitnesses } from '../../src/log/publication.ts';
import type { ReleaseLog } from '../../src/log/release-log.ts';
import { verifyCosignatures } from '../../src/log/witnessed-checkpoint.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { testSigner } from './test-signer.ts';
import { testWitnessSigner } from './witness-log.ts';

const signer = testSigner('log.example/evaluation');
const trust = { origin: signer.key.name, keys: [signer.key] };
const witnessSigners = ['one.example', 'two.example'].map(testWitnessSigner);
const witnessKeys = witnessSigners.map(({ key }) => key);

/** Witnesses whose clock a test sets, and each of which it can silence. */
class SettableWitnesses implements CheckpointWitnesses {
  confirm(): Promise<void> {
    return Promise.resolve();
  }

  time = 1n;
  readonly silent = new Set<string>();

  async cosign({ note }: VerifiedCheckpoint): Promise<string> {
    const { text } = parseNote(note);
    const answering = witnessSigners.filter(({ key }) => !this.silent.has(key.name));
    const lines = await Promise.all(
      answering.map(async (witness) =>
        formatSignatureLine(witness.key, await witness.cosign(text, this.time)),
      ),
    );
    return `${note}${lines.join('')}`;
  }

  close(): void {
    this.silent.clear();
  }
}

async function idleLog(
  sign: (message: Uint8Array) => Promise<Uint8Array> = (message) => signer.sign(message),
): Promise<{
  readonly log: ReleaseLog;
  readonly folder: string;
  readonly witnesses: SettableWitnesses;
}> {
  const folder = await temporaryFolder();
  await (await createReleaseLog(folder, { origin: trust.origin, signers: [signer] })).close();
  const witnesses = new SettableWitnesses();
  const identity = { origin: trust.origin, signers: [{ key: signer.key, sign }] };
  const log = await openReleaseLog(folder, identity, { witnesses });
  await log.append(toUtf8('entry'));
  return { log, folder, witnesses };
}

async function cosignedAt({ published }: ReleaseLog): Promise<readonly (readonly [string, bigint])[]> {
  const cosignatures = await verifyCosignatures(published.checkpoint.note, witnessKeys);
  return cosignatures.map(({ key, time }) => [key.name, time]);
}

describe('a log to which nothing is appended', () => {
  it('WT-22: has its checkpoint witnessed anew, with one line for each key, and keeps it', async () => {
    const { log, folder, witnesses } = await idleLog();
    const before = log.published.checkpoint;
    witnesses.time = 600n;
    await log.republish();
    const { checkpoint } = log.published;
    expect([checkpoint.size, checkpoint.root]).toEqual([before.size, before.root]);
    expect(await cosignedAt(log)).toEqual([
      ['one.example', 600n],
      ['two.example', 600n],
    ]);
    expect(parseNote(checkpoint.note).signatures).toHaveLength(3);
    expect(readFileSync(join(folder, 'checkpoint'), 'utf8')).toBe(checkpoint.note);
    await log.close();
    const reopened = await openReleaseLog(folder, { origin: trust.origin, signers: [signer] });
    expect(reopened.published.checkpoint.note).toBe(checkpoint.note);
    await reopened.close();
  });

  it('WT-22: does not lose the cosignature of a witness that is silent this time', async () => {
    const { log, witnesses } = await idleLog();
    witnesses.time = 600n;
    witnesses.silent.add('one.example');
    await log.republish();
    expect(await cosignedAt(log)).toEqual([
      ['one.example', 1n],
      ['two.example', 600n],
    ]);
    await log.close();
  });

  it('WT-23: gets the cosignatures that it lacked when the entry was appended', async () => {
    const { log, witnesses } = await idleLog();
    for (const { name } of witnessKeys) witnesses.silent.add(name);
    await log.append(toUtf8('another'));
    expect(await cosignedAt(log)).toEqual([]);
    witnesses.silent.clear();
    await log.republish();
    expect((await cosignedAt(log)).map(([name]) => name)).toEqual(['one.example', 'two.example']);
    await log.close();
  });

  it('TL-17: signs no other root for a size that it has signed', async () => {
    const { log, folder } = await idleLog();
    const { note } = log.published.checkpoint;
    const intruder = new DatabaseSync(join(folder, 'log.sqlite'));
    intruder.exec('DROP TRIGGER nodes_stay_unchanged; UPDATE nodes SET hash = zeroblob(32)');
    intruder.close();
    expect(await refusalCodeAsync(() => log.republish())).toBe('log-damaged');
    expect(log.published.checkpoint.note).toBe(note);
    expect(await refusalCodeAsync(() => log.append(toUtf8('more')))).toBe('log-stopped');
    await log.close();
  });

  it('WT-22: goes on with the checkpoint it has when the signer fails', async () => {
    let broken = false;
    const { log } = await idleLog((message) =>
      broken ? Promise.reject(new Error('token removed')) : signer.sign(message),
    );
    broken = true;
    expect(await refusalCodeAsync(() => log.republish())).toBe('log-signer-failed');
    broken = false;
    await openCheckpoint(log.published.checkpoint.note, trust);
    expect((await log.append(toUtf8('more'))).index).toBe(1n);
    await log.close();
  });

  it('WT-22: takes turns with appends, and is refused when the log is closed', async () => {
    const { log } = await idleLog();
    const appends = [1, 2, 3].map((i) => log.append(toUtf8(`entry ${i}`)));
    await Promise.all([log.republish(), log.republish()]);
    expect((await Promise.all(appends)).map(({ index }) => index)).toEqual([1n, 2n, 3n]);
    expect(log.published.size).toBe(4n);
    await log.close();
    expect(await refusalCodeAsync(() => log.republish())).toBe('log-stopped');
  });
});
