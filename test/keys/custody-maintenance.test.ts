import { execFile } from 'node:child_process';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { promisify } from 'node:util';

import { describe, expect, it, onTestFinished } from 'vitest';

import { readCustodyEvents } from '../../src/keys/custody-events.ts';
import {
  custodyStatus,
  migrateCustody,
  observeCurrent,
  retireWrappingKeys,
  rotateCustody,
} from '../../src/keys/custody-maintenance.ts';
import { readCustodies } from '../../src/keys/home-custodies.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TransitService } from '../support/transit-service.ts';
import {
  createCustodyHome,
  digestOfNumber,
  holdsNumbered,
  openCustodyHome,
  putNumbered,
  type OpenCustodyHome,
} from './custody-home.ts';

const SLOW = 180_000;
const NUMBERS = [1, 2, 3];

async function open(folder: string): Promise<OpenCustodyHome> {
  const home = await openCustodyHome(folder);
  onTestFinished(() => home.close());
  return home;
}

async function newHome(numbers: readonly number[] = NUMBERS): Promise<OpenCustodyHome> {
  const folder = await temporaryFolder();
  await createCustodyHome(folder);
  const home = await open(folder);
  for (const number of numbers) await putNumbered(home.store, number);
  return home;
}

async function holdsAll(home: OpenCustodyHome, numbers: readonly number[] = NUMBERS): Promise<boolean> {
  const held = await Promise.all(numbers.map((number) => holdsNumbered(home.store, number)));
  return held.every((one) => one);
}

/** Makes one call of a method fail before it has done anything. */
function failOnce<T extends object>(target: T, name: keyof T & string, call: number): void {
  const method = Reflect.get(target, name) as (...values: unknown[]) => unknown;
  let calls = 0;
  Reflect.set(target, name, (...values: unknown[]): unknown => {
    calls += 1;
    if (calls !== call) return method.apply(target, values);
    throw new Error('interrupted');
  });
}

describe('rotation of the wrapping key', () => {
  it(
    'puts every stored key under the new one, and retires the old one (KC-83, KC-85)',
    { timeout: SLOW },
    async () => {
      const home = await newHome();
      const before = (await home.custodies.current.custody.wrappingKeys()).current;
      let moved = 0;
      expect(await rotateCustody(home, () => (moved += 1))).toBe(true);
      const status = await custodyStatus(home);
      expect([moved, status.wrappingKeys.map(({ storedKeys }) => storedKeys)]).toEqual([3, [3, 0]]);
      expect(status.wrappingKeys[1]?.id).toBe(before);
      expect(await retireWrappingKeys(home)).toEqual([before]);
      expect(await retireWrappingKeys(home)).toEqual([]);
      expect(await holdsAll(home)).toBe(true);
      const current = status.wrappingKeys[0]?.id;
      expect(readCustodyEvents(home.database)).toEqual([
        { event: 'opened', custody: 1, provider: 'file', wrappingKeys: [current] },
      ]);
    },
  );

  it('goes on where it was interrupted, without another new key (KC-83)', { timeout: SLOW }, async () => {
    const home = await newHome();
    const { custody } = home.custodies.current;
    failOnce(custody, 'rewrap', 2);
    await expect(rotateCustody(home)).rejects.toThrow('interrupted');
    expect(await refusalCodeAsync(() => retireWrappingKeys(home))).toBe('wrapping-key-in-use');
    expect(await holdsAll(home)).toBe(true);
    const { current } = await custody.wrappingKeys();
    expect(await rotateCustody(home)).toBe(false);
    expect((await custody.wrappingKeys()).current).toBe(current);
    expect((await custodyStatus(home)).wrappingKeys[0]?.storedKeys).toBe(3);
  });

  it('loses nothing by kill -9 before any of its steps (KC-19, KC-83)', { timeout: 2 * SLOW }, async () => {
    const server = await newHome([1]);
    const program = join(import.meta.dirname, 'rotate-until-killed.ts');
    const run = promisify(execFile);
    let killed = 0;
    for (let done = false; !done; killed += done ? 0 : 1) {
      const options = ['--disable-warning=ExperimentalWarning', program, server.home.folder, String(killed)];
      done = await run(process.execPath, options).then(
        () => true,
        (error: unknown) => {
          expect(error).toMatchObject({ signal: 'SIGKILL' });
          return false;
        },
      );
      expect(await holdsNumbered(server.store, 1), `killed before step ${killed}`).toBe(true);
      // What was begun comes to its end, so that each round has the same steps.
      await rotateCustody(server);
      await retireWrappingKeys(server);
      expect(await holdsNumbered(server.store, 1)).toBe(true);
      expect(killed).toBeLessThan(40);
    }
    expect(killed).toBeGreaterThan(8);
    const anew = await open(server.home.folder);
    expect(await holdsNumbered(anew.store, 1)).toBe(true);
    expect((await custodyStatus(anew)).wrappingKeys).toHaveLength(1);
  });

  it('lets a server that runs meanwhile take and store keys (KC-16, KC-82)', { timeout: SLOW }, async () => {
    const home = await newHome();
    const server = await open(home.home.folder);
    const rotating = rotateCustody(home, () => {
      expect(server.store.has(digestOfNumber(1))).toBe(true);
    });
    const during = await Promise.all([holdsAll(server), putNumbered(server.store, 4), holdsAll(server)]);
    await rotating;
    await rotateCustody(home);
    await retireWrappingKeys(home);
    expect([during[0], during[2]]).toEqual([true, true]);
    expect(await holdsAll(server, [1, 2, 3, 4])).toBe(true);
  });

  it(
    'stores nothing under a wrapping key that was retired in between (KC-82)',
    { timeout: SLOW },
    async () => {
      const home = await newHome([1]);
      const { custody } = home.custodies.current;
      const wrap = custody.wrap.bind(custody);
      let attempts = 0;
      // As if another process had rotated and retired after this one has wrapped.
      custody.wrap = async (key, context) => {
        const wrapped = await wrap(key, context);
        attempts += 1;
        if (attempts === 1) {
          home.database.endWrappingKey({ custody: 1, wrappingKey: custody.wrappingKeyOf(wrapped) });
          await custody.rotate();
        }
        return wrapped;
      };
      await putNumbered(home.store, 2);
      expect(attempts).toBe(2);
      expect(await holdsNumbered(home.store, 2)).toBe(true);
      expect(home.database.find(digestOfNumber(2))?.custody).toBe(1);
    },
  );
});

describe('events of the custody', () => {
  it('follow from what is there, also when nobody said so (KC-90)', { timeout: SLOW }, async () => {
    const home = await newHome([]);
    const { custody } = home.custodies.current;
    await observeCurrent(home);
    const first = (await custody.wrappingKeys()).current;
    await custody.rotate();
    const second = (await custody.wrappingKeys()).current;
    await custody.retire(new Set());
    await observeCurrent(home);
    await observeCurrent(home);
    const common = { custody: 1, provider: 'file' };
    expect(readCustodyEvents(home.database)).toEqual([
      { event: 'opened', ...common, wrappingKeys: [first] },
      { event: 'rotated', ...common, wrappingKeys: [second] },
      { event: 'retired', ...common, wrappingKeys: [first] },
    ]);
  });
});

describe('a home of before', () => {
  it(
    'has its stored keys and file custody, without a file that says so (KC-80, KC-81)',
    { timeout: SLOW },
    async () => {
      const home = await newHome();
      await home.close();
      const path = join(home.home.folder, 'model-keys.sqlite');
      const database = new DatabaseSync(path);
      database.exec(`ALTER TABLE model_keys DROP COLUMN custody; DROP TABLE ended_wrapping_keys;
      DROP TABLE ended_custodies; DROP TABLE custody_events; PRAGMA user_version = 0`);
      database.close();
      await writeFile(join(home.home.folder, 'custody.yaml'), '');
      expect(await refusalCodeAsync(() => openCustodyHome(home.home.folder))).not.toBe('accepted');
      await rm(join(home.home.folder, 'custody.yaml'));
      const again = await open(home.home.folder);
      expect(await holdsAll(again)).toBe(true);
      const production = { folder: home.home.folder, mode: 'production' } as const;
      expect(await refusalCodeAsync(() => readCustodies(production))).toBe('custody-not-chosen');
    },
  );
});

describe('migration to another custody', () => {
  async function vault(folder: string) {
    const service = await TransitService.start();
    onTestFinished(() => service.close());
    await writeFile(join(folder, 'vault-authority.pem'), service.authorityCertificate);
    await writeFile(join(folder, 'vault-token'), service.token, { mode: 0o600 });
    const names = { tokenFile: 'vault-token', authority: 'vault-authority.pem' };
    const settings = {
      address: service.address,
      mount: 'transit',
      key: 'weightgate',
      namespace: null,
      ...names,
    };
    return { service, to: { provider: 'vault', settings } as const };
  }

  it('moves every stored key, and a server that runs finds them (KC-84)', { timeout: SLOW }, async () => {
    const home = await newHome();
    const server = await open(home.home.folder);
    const { to, service } = await vault(home.home.folder);
    await migrateCustody(home, to);
    expect(await custodyStatus(home)).toMatchObject({ number: 2, provider: 'vault', storedElsewhere: 0 });
    expect(await holdsAll(server)).toBe(true);
    await putNumbered(server.store, 4);
    expect(home.database.find(digestOfNumber(4))?.custody).toBe(2);
    expect(service.keys.get('weightgate')?.latest).toBe(1);
    expect(readCustodyEvents(home.database).map(({ event, custody }) => `${event} ${custody}`)).toEqual([
      'opened 2',
      'ended 1',
    ]);
    expect(await readFile(join(home.home.folder, 'custody.yaml'), 'utf8')).toContain('former: null');
  });

  it('goes on where it was interrupted, and lets nothing else begin (KC-84)', { timeout: SLOW }, async () => {
    const home = await newHome();
    const { to } = await vault(home.home.folder);
    failOnce(home.database, 'replace', 2);
    await expect(migrateCustody(home, to)).rejects.toThrow('interrupted');
    expect(await holdsAll(home)).toBe(true);
    for (const other of [() => rotateCustody(home), () => retireWrappingKeys(home)]) {
      expect(await refusalCodeAsync(other)).toBe('custody-unfinished');
    }
    const elsewhere = { ...to, settings: { ...to.settings, key: 'another' } };
    expect(await refusalCodeAsync(() => migrateCustody(home, elsewhere))).toBe('custody-unfinished');
    await migrateCustody(home, to);
    expect(await custodyStatus(home)).toMatchObject({ number: 2, storedElsewhere: 0 });
    expect(await holdsAll(home)).toBe(true);
  });

  it('changes nothing when the new custody does not work (KC-84)', { timeout: SLOW }, async () => {
    const home = await newHome();
    const { to, service } = await vault(home.home.folder);
    service.token = 'another';
    expect(await refusalCodeAsync(() => migrateCustody(home, to))).toBe('custody-denied');
    expect((await readCustodies(home.home)).current.number).toBe(1);
    expect(await holdsAll(home)).toBe(true);
  });
});
