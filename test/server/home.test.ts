import { mkdir, readFile, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, it } from 'vitest';

import { toBase64 } from '../../attestation/core/bytes.ts';
import { decodeEntry, encodeEntry, statementEntry } from '../../src/governance/entries.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { readAnchors } from '../../src/server/anchors.ts';
import { openServerHome } from '../../src/server/home.ts';
import { createServerHome } from '../../src/server/new-home.ts';
import { makeEnrollableTpm } from '../support/enrolled-tpm.ts';
import { examplePredicates, exampleTrustRoot, predicateOf, signers } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { newHome, ORIGIN, PASSPHRASE, TestClock, TestServer } from '../support/release-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const clock = new TestClock();

async function edit(home: string, from: string, to: string): Promise<void> {
  const path = join(home, 'weightgate.yaml');
  const text = await readFile(path, 'utf8');
  expect(text).toContain(from);
  await writeFile(path, text.replace(from, to));
}

/** So that neither the last entry is the first one, nor the log one leaf. */
async function appendTwoEntries(path: string): Promise<void> {
  const home = await openServerHome(path, PASSPHRASE, clock);
  const statement = makeStatement(
    'model-version/v1',
    predicateOf('model-version/v1', examplePredicates.model),
  );
  for (const envelope of await signByEach(statement, [signers.bert, signers.cleo])) {
    await home.governance.record((_state, at) => statementEntry(at, envelope));
  }
  await home.closeAll();
}

describe('a new server home', () => {
  it('RP-6: begins its log with origin, mode, log key and trust root', async () => {
    const path = join(await temporaryFolder(), 'home');
    const { logKey } = await createServerHome(newHome(path, clock));
    const home = await openServerHome(path, PASSPHRASE, clock);
    const [genesis] = await home.log.published.entries(0n, 1n);
    await home.closeAll();
    expect(decodeEntry(genesis!)).toMatchObject({
      type: 'genesis',
      origin: ORIGIN,
      mode: 'evaluation',
      logKey,
    });
  });

  it('keeps what is secret from other users', async () => {
    const path = join(await temporaryFolder(), 'home');
    await createServerHome(newHome(path, clock));
    expect((await stat(path)).mode & 0o077).toBe(0);
    for (const name of ['keyring.json', 'tls/server-key.pem', 'tls/authority-key.pem', 'weightgate.yaml']) {
      expect((await stat(join(path, name))).mode & 0o077).toBe(0);
    }
  });

  it.each([
    ['RP-5: an evaluation origin without its suffix', { origin: 'release.example' }, 'governance-genesis'],
    ['RP-5: a production origin with the suffix', { mode: 'production' as const }, 'governance-genesis'],
    ['a trust root of the other mode', { trustRoot: exampleTrustRoot('production') }, 'governance-genesis'],
    ['an empty passphrase', { passphrase: '' }, 'key-passphrase-empty'],
  ])('%s is refused and leaves nothing', async (_title, changes, code) => {
    const folder = await temporaryFolder();
    const home = newHome(join(folder, 'home'), clock, changes);
    expect(await refusalCodeAsync(() => createServerHome(home))).toBe(code);
    expect(await readdir(folder)).toEqual([]);
  });

  it('CL-2: an interrupt leaves nothing', async () => {
    const folder = await temporaryFolder();
    const interrupt = new Error('interrupted');
    const home = newHome(join(folder, 'home'), clock);
    await expect(createServerHome(home, AbortSignal.abort(interrupt))).rejects.toBe(interrupt);
    expect(await readdir(folder)).toEqual([]);
  });

  it('an existing home is never overwritten', async () => {
    const path = join(await temporaryFolder(), 'home');
    await mkdir(path);
    await writeFile(join(path, 'something'), '');
    expect(await refusalCodeAsync(() => createServerHome(newHome(path, clock)))).toBe('home-exists');
    expect(await readdir(path)).toEqual(['something']);
  });
});

describe('opening a server home', () => {
  it.each([
    ['RP-6: another mode', 'mode: evaluation', 'mode: production', 'keyring-other-server'],
    ['RP-6: another origin', `origin: ${ORIGIN}`, 'origin: other.example/evaluation', 'keyring-other-server'],
    ['W11: an unknown member', 'version: 1', 'version: 1\nsurprise: true', 'shape-mismatch'],
    ['W11: another version', 'version: 1', 'version: 2', 'shape-mismatch'],
    ['W11: a repeated member', 'version: 1', 'version: 1\nversion: 1', 'configuration-yaml'],
    ['W11: an anchor of YAML', 'version: 1', 'version: &v 1', 'configuration-yaml'],
    ['W11: a tag of YAML', 'version: 1', 'version: !!int 1', 'configuration-yaml'],
  ])('%s in the configuration is refused', async (_title, from, to, code) => {
    const server = await TestServer.createReady();
    await server.stop();
    await edit(server.path, from, to);
    expect(await refusalCodeAsync(() => openServerHome(server.path, PASSPHRASE, clock))).toBe(code);
  });

  it('RP-6: a home whose log began in another mode is refused, whatever its other files say', async () => {
    const folder = await temporaryFolder();
    const [first, second] = [join(folder, 'first'), join(folder, 'second')];
    await createServerHome(newHome(first, clock));
    await createServerHome(newHome(second, clock));
    for (const name of ['log/log.sqlite', 'log/checkpoint']) {
      await writeFile(join(first, name), await readFile(join(second, name)));
    }
    const code = await refusalCodeAsync(() => openServerHome(first, PASSPHRASE, clock));
    expect(code).toMatch(/^(?:log|home|checkpoint)-/);
  });

  it('TL-23, RP-6: a trust root that was swapped in the database is refused', async () => {
    const path = join(await temporaryFolder(), 'home');
    await createServerHome(newHome(path, clock));
    await appendTwoEntries(path);
    const database = new DatabaseSync(join(path, 'log/log.sqlite'));
    const row = database.prepare('SELECT entry FROM entries WHERE position = 0').get();
    const genesis = decodeEntry(row!['entry'] as Uint8Array);
    if (genesis.type !== 'genesis') throw new Error('the log does not begin with its genesis entry');
    const [anna, ...others] = genesis.trustRoot.persons;
    const publicKeys = [toBase64(signers.mallory.publicKey)];
    const trustRoot = { ...genesis.trustRoot, persons: [{ ...anna!, publicKeys }, ...others] };
    database.exec('DROP TRIGGER entries_stay_unchanged');
    database
      .prepare('UPDATE entries SET entry = ? WHERE position = 0')
      .run(encodeEntry({ ...genesis, trustRoot }));
    database.close();
    expect(await refusalCodeAsync(() => openServerHome(path, PASSPHRASE, clock))).toBe('log-damaged');
  });

  it('a wrong passphrase, a folder that is no home, a second server', async () => {
    const server = await TestServer.createReady();
    const open = (passphrase: string, path = server.path): Promise<unknown> =>
      openServerHome(path, passphrase, clock);
    expect(await refusalCodeAsync(() => open('wrong'))).toBe('key-passphrase-wrong');
    expect(await refusalCodeAsync(async () => open(PASSPHRASE, await temporaryFolder()))).toBe(
      'home-not-found',
    );
    expect(await refusalCodeAsync(() => open(PASSPHRASE))).toBe('log-locked');
  });
});

describe('the authorities of vendors', () => {
  it('W9, RP-7: a production server does not look at those of simulated hardware', async () => {
    const folder = await temporaryFolder();
    const { vendorCertificate } = await makeEnrollableTpm();
    for (const path of ['tpm', 'simulated/tpm']) {
      await mkdir(join(folder, path), { recursive: true });
      await writeFile(join(folder, path, 'vendor.pem'), vendorCertificate);
    }
    const simulated = async (mode: 'evaluation' | 'production'): Promise<readonly boolean[]> =>
      (await readAnchors(folder, 'tpm', mode)).map((anchor) => anchor.simulated);
    expect(await simulated('production')).toEqual([false]);
    expect(await simulated('evaluation')).toEqual([false, true]);
  });

  it('a file that is no certificate is refused by name; a missing folder holds none', async () => {
    const folder = await temporaryFolder();
    expect(await readAnchors(folder, 'tpm', 'evaluation')).toEqual([]);
    await mkdir(join(folder, 'tpm'));
    await writeFile(join(folder, 'tpm/broken.pem'), 'not a certificate');
    expect(await refusalCodeAsync(() => readAnchors(folder, 'tpm', 'production'))).toBe('home-anchor');
  });
});
