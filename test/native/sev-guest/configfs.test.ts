import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { ConfigfsSevGuest, type ReportFiles } from '../../../native/sev-guest/configfs.ts';
import { openSevGuest } from '../../../native/sev-guest/open.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { FakeConfigfs, reportsFolder, systemError, type FakeFirmware } from '../../support/configfs-tsm.ts';
import { refusalCodeAsync as refusalCode } from '../../support/refusal-code.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';

const REPORT_DATA = new Uint8Array(64).map((_byte, i) => i);

function firmware(changes: Partial<FakeFirmware> = {}): FakeFirmware {
  return {
    provider: 'sev_guest',
    privilegeLevelFloor: '0',
    report: (reportData, level) => ({
      outblob: Uint8Array.of(level, ...reportData),
      auxblob: Uint8Array.of(1, 2, 3),
    }),
    ...changes,
  };
}

async function guestOf(kernel: ReportFiles): Promise<{ guest: ConfigfsSevGuest; root: string }> {
  const root = await reportsFolder(await temporaryFolder());
  return { guest: new ConfigfsSevGuest(root, kernel, 1), root };
}

/** A kernel that fails in one operation. */
function failing(kernel: FakeConfigfs, operation: keyof ReportFiles, code: string): ReportFiles {
  const files: ReportFiles = {
    makeFolder: (path) => kernel.makeFolder(path),
    read: (path, maxBytes) => kernel.read(path, maxBytes),
    write: (path, bytes) => kernel.write(path, bytes),
    removeFolder: (path) => kernel.removeFolder(path),
  };
  return { ...files, [operation]: () => Promise.reject(systemError(code)) };
}

describe('reports by configfs-tsm', () => {
  it('SA-4: gives report and certificates, and leaves no folder', async () => {
    const kernel = new FakeConfigfs(firmware());
    const { guest, root } = await guestOf(kernel);
    const { report, certificateTable } = await guest.report(REPORT_DATA);
    expect(report).toEqual(Uint8Array.of(0, ...REPORT_DATA));
    expect(certificateTable).toEqual(Uint8Array.of(1, 2, 3));
    expect(kernel.removed).toEqual(kernel.made);
    expect(await readdir(root)).toEqual([]);
  });

  it('SA-4: makes each report in a folder of its own', async () => {
    const kernel = new FakeConfigfs(firmware());
    const { guest } = await guestOf(kernel);
    const others = [REPORT_DATA, REPORT_DATA.map((byte) => byte ^ 1), REPORT_DATA.map((byte) => byte ^ 2)];
    const reports = await Promise.all(others.map((data) => guest.report(data)));
    expect(reports.map(({ report }) => report.subarray(1))).toEqual(others);
    expect(new Set(kernel.made).size).toBe(3);
  });

  it('SA-5: refuses another kind of guest', async () => {
    const kernel = new FakeConfigfs(firmware({ provider: 'tdx_guest' }));
    const { guest } = await guestOf(kernel);
    expect(await refusalCode(() => guest.report(REPORT_DATA))).toBe('sev-guest-other-provider');
    expect(kernel.removed).toEqual(kernel.made);
  });

  it('SA-6: asks at the level that a service module leaves to the guest', async () => {
    const { guest } = await guestOf(new FakeConfigfs(firmware({ privilegeLevelFloor: '2' })));
    expect((await guest.report(REPORT_DATA)).report[0]).toBe(2);
  });

  it('SA-6: asks at no level where the kernel knows none', async () => {
    const { privilegeLevelFloor: _none, ...withoutLevels } = firmware();
    const { guest } = await guestOf(new FakeConfigfs(withoutLevels));
    expect((await guest.report(REPORT_DATA)).report[0]).toBe(0);
  });

  it('SA-7: takes no report that another one had made', async () => {
    const kernel = new FakeConfigfs(firmware());
    const foreign = REPORT_DATA.map(() => 9);
    let meddled = 0;
    kernel.meddle = (request, attribute) => {
      if (attribute !== 'outblob' || meddled === 2) return;
      meddled += 1;
      request.reportData = foreign;
      request.writeGeneration += 1;
    };
    const { guest } = await guestOf(kernel);
    expect((await guest.report(REPORT_DATA)).report.subarray(1)).toEqual(REPORT_DATA);
    expect(kernel.made.length).toBe(3);
  });

  it('SA-7: tries again while the kernel is busy', async () => {
    const kernel = new FakeConfigfs(firmware());
    let refusals = 2;
    kernel.meddle = (_request, attribute) => {
      if (attribute !== 'outblob' || refusals === 0) return;
      refusals -= 1;
      throw systemError('EBUSY');
    };
    const { guest } = await guestOf(kernel);
    expect((await guest.report(REPORT_DATA)).certificateTable).toEqual(Uint8Array.of(1, 2, 3));
    expect(kernel.removed).toEqual(kernel.made);
  });

  it('SA-7: gives up where the kernel stays busy', async () => {
    const { guest } = await guestOf(failing(new FakeConfigfs(firmware()), 'write', 'EBUSY'));
    expect(await refusalCode(() => guest.report(REPORT_DATA))).toBe('sev-guest-busy');
  });

  it('SA-8: knows that there are no certificates', async () => {
    for (const auxblob of [undefined, new Uint8Array()]) {
      const report = () => ({ outblob: REPORT_DATA, ...(auxblob === undefined ? {} : { auxblob }) });
      const { guest } = await guestOf(new FakeConfigfs(firmware({ report })));
      expect((await guest.report(REPORT_DATA)).certificateTable).toEqual(new Uint8Array());
    }
  });

  it.each([
    ['makeFolder', 'ENOENT', 'sev-guest-missing'],
    ['makeFolder', 'ENXIO', 'sev-guest-missing'],
    ['makeFolder', 'EACCES', 'sev-guest-not-permitted'],
    ['write', 'EINVAL', 'sev-guest-refused'],
    ['read', 'EIO', 'sev-guest-refused'],
  ] as const)('SA-2: %s that ends with %s is %s', async (operation, code, refusal) => {
    const { guest } = await guestOf(failing(new FakeConfigfs(firmware()), operation, code));
    expect(await refusalCode(() => guest.report(REPORT_DATA))).toBe(refusal);
  });

  it('SA-2: a folder that is no report interface has no firmware', async () => {
    const root = await reportsFolder(await temporaryFolder());
    const guest = await openSevGuest(`configfs:${root}`);
    expect(await refusalCode(() => guest.report(REPORT_DATA))).toBe('sev-guest-missing');
    expect(await readdir(root)).toEqual([]);
    const absent = await openSevGuest(`configfs:${join(root, 'absent')}`);
    expect(await refusalCode(() => absent.report(REPORT_DATA))).toBe('sev-guest-missing');
  });

  it('SA-3: reads no more than a report can have', async () => {
    const endless = { outblob: new Uint8Array(40 * 1024) };
    const { guest } = await guestOf(new FakeConfigfs(firmware({ report: () => endless })));
    expect(await refusalCode(() => guest.report(REPORT_DATA))).toBe('sev-guest-answer');
  });

  it('SA-3: whatever the attributes say, the only errors are refusals', async () => {
    const root = await reportsFolder(await temporaryFolder());
    const attribute = fc.oneof(fc.constantFrom('sev_guest\n', '0\n', '1\n', '', '-1', '1e3'), fc.string());
    await fc.assert(
      fc.asyncProperty(attribute, attribute, attribute, async (provider, floor, generation) => {
        const texts = new Map(Object.entries({ provider, privlevel_floor: floor, generation }));
        const guest = new ConfigfsSevGuest(root, {
          makeFolder: () => Promise.resolve(),
          removeFolder: () => Promise.resolve(),
          write: () => Promise.reject(systemError('EIO')),
          read: (path) => Promise.resolve(Buffer.from(texts.get(path.split('/').at(-1) ?? '') ?? '')),
        });
        const error = await guest.report(REPORT_DATA).catch((thrown: unknown) => thrown);
        expect(isRefusal(error)).toBe(true);
      }),
      { numRuns: 200 },
    );
  });
});

describe('SA-1: the address of the interface', () => {
  it.each([
    '',
    'configfs',
    'configfs:relative',
    'device:',
    'tpm:/dev/tpm0',
    'simulated:/x',
    '/dev/sev-guest',
  ])('is not %j', async (address) => {
    expect(await refusalCode(() => openSevGuest(address))).toBe('sev-guest-address');
  });

  it('leads to the interface that it names', async () => {
    expect((await openSevGuest('configfs:/somewhere')).address).toBe('configfs:/somewhere');
    expect((await openSevGuest('device:/dev/other')).address).toBe('device:/dev/other');
  });
});
