import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { isRefusal } from '../../../attestation/core/refusal.ts';
import { DeviceSevGuest } from '../../../native/sev-guest/device.ts';
import { cutCertificateTable } from '../../../native/sev-guest/messages.ts';
import { missingCompiler } from '../../support/programs.ts';
import { refusalCode as refusalCodeSync, refusalCodeAsync } from '../../support/refusal-code.ts';
import { buildFakeDriver, type DriverAnswers, type FakeDriver } from '../../support/sev-guest-driver.ts';

const REPORT_DATA = new Uint8Array(64).map((_byte, i) => 255 - i);

/** A certificate table of one entry, with so many bytes behind it. */
function tableOf(bytes: number, offset = 48): Uint8Array {
  const table = new Uint8Array(offset + bytes).fill(7, offset);
  const view = new DataView(table.buffer);
  table.fill(0xa5, 0, 16);
  view.setUint32(16, offset, true);
  view.setUint32(20, bytes, true);
  return table;
}

const missing = missingCompiler();

describe.skipIf(missing.length > 0)(`reports by ioctl (missing: ${missing.join(', ') || 'nothing'})`, () => {
  let folder: string;
  let driver: FakeDriver;
  let guest: DeviceSevGuest;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-driver-'));
    driver = await buildFakeDriver(folder);
    guest = new DeviceSevGuest('/dev/null', driver.ioctl, 1);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  async function refused(answers: DriverAnswers): Promise<string> {
    driver.answer(answers);
    return await refusalCodeAsync(() => guest.report(REPORT_DATA));
  }

  it('SA-9: gives report and certificates of one request', async () => {
    const table = tableOf(3000);
    driver.answer({ table });
    const { report, certificateTable } = await guest.report(REPORT_DATA);
    expect(report.length).toBe(1184);
    expect(report.subarray(0x50, 0x90)).toEqual(REPORT_DATA);
    expect(certificateTable).toEqual(table);
    expect(driver.calls).toBe(1);
  });

  it('SA-9: gives the report alone where the driver knows no other request', async () => {
    driver.answer({ knowsExtended: false, table: tableOf(3000) });
    const { report, certificateTable } = await guest.report(REPORT_DATA);
    expect(report.subarray(0x50, 0x90)).toEqual(REPORT_DATA);
    expect(certificateTable.length).toBe(0);
    expect(driver.calls).toBe(2);
  });

  it('SA-9: gives the report alone where the host has no certificates', async () => {
    driver.answer({});
    expect((await guest.report(REPORT_DATA)).certificateTable.length).toBe(0);
    expect(driver.calls).toBe(1);
  });

  it('SA-10: makes room for as many certificates as there are', async () => {
    const table = tableOf(12_000);
    driver.answer({ table });
    expect((await guest.report(REPORT_DATA)).certificateTable).toEqual(table);
    expect(driver.calls).toBe(2);
  });

  it.each([0x5000, 0xffff_f000, 12_345, 0x2001])('SA-10: makes no room of %i bytes', async (wantedBytes) => {
    expect(await refused({ table: tableOf(10), wantedBytes })).toBe('sev-guest-refused');
    expect(driver.calls).toBe(1);
  });

  it('SA-11: asks again while the host throttles', async () => {
    driver.answer({ busyAnswers: 3, table: tableOf(100) });
    expect((await guest.report(REPORT_DATA)).certificateTable.length).toBe(148);
    expect(driver.calls).toBe(4);
  });

  it('SA-11: gives up where the host goes on throttling', async () => {
    expect(await refused({ busyAnswers: 1000 })).toBe('sev-guest-busy');
    expect(driver.calls).toBe(8);
  });

  it.each([
    ['the firmware', { firmwareError: 0x16 }],
    ['the host', { hostError: 3 }],
    ['the status of the firmware', { status: 0x27 }],
  ])('SA-12: refuses an error of %s', async (_name, answers) => {
    expect(await refused(answers)).toBe('sev-guest-refused');
  });

  it('SA-12: refuses a report of another size', async () => {
    expect(await refused({ reportBytes: 1183 })).toBe('sev-guest-answer');
  });

  it('SA-13: refuses a table that points outside of its room', async () => {
    const table = tableOf(100);
    new DataView(table.buffer).setUint32(20, 0xffff_ffff, true);
    expect(await refused({ table })).toBe('sev-guest-answer');
  });

  it('answers side by side', async () => {
    driver.answer({ table: tableOf(9000) });
    const data = [1, 2, 3, 4].map((value) => new Uint8Array(64).fill(value));
    const reports = await Promise.all(data.map((each) => guest.report(each)));
    expect(reports.map(({ report }) => report.slice(0x50, 0x90))).toEqual(data);
  });

  it('SA-2: a device that is not there, or not open to this user', async () => {
    const absent = new DeviceSevGuest(join(folder, 'absent'), driver.ioctl);
    expect(await refusalCodeAsync(() => absent.report(REPORT_DATA))).toBe('sev-guest-missing');
  });
});

describe('the certificate table of a host', () => {
  it('SA-13: is cut behind its last certificate', () => {
    const room = new Uint8Array(8192);
    room.set(tableOf(3000));
    expect(cutCertificateTable(room)).toEqual(tableOf(3000));
    expect(cutCertificateTable(new Uint8Array(4096)).length).toBe(0);
  });

  it('SA-13: has an end', () => {
    expect(refusalCodeSync(() => cutCertificateTable(new Uint8Array(4096).fill(1, 0, 4000)))).toBe(
      'sev-guest-answer',
    );
    const endless = new Uint8Array(8192);
    for (let at = 0; at < 8184; at += 24) endless[at] = 1;
    expect(refusalCodeSync(() => cutCertificateTable(endless))).toBe('sev-guest-answer');
  });

  it('SA-3: whatever the host writes, the only errors are refusals', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 500 }), (room) => {
        try {
          expect(cutCertificateTable(room).length).toBeLessThanOrEqual(room.length);
        } catch (error) {
          expect(isRefusal(error)).toBe(true);
        }
      }),
      { numRuns: 500 },
    );
  });
});
