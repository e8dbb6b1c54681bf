/** What mutations of the code showed that nothing else looked at. */

import { describe, expect, it } from 'vitest';

import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import { Checklist } from '../../../attestation/core/verdict.ts';
import { appraiseGuest } from '../../../attestation/sev-snp/appraise-guest.ts';
import { collateralNames } from '../../../attestation/sev-snp/chain.ts';
import { computeReportData } from '../../../attestation/sev-snp/report-data.ts';
import { sevSnpDeviceClass } from '../../../attestation/sev-snp/device-class.ts';
import { readPolicy, readReferenceValues } from '../../../attestation/sev-snp/documents.ts';
import type { LaunchReference } from '../../../attestation/sev-snp/documents.ts';
import type { AttestationReport } from '../../../attestation/sev-snp/layout.ts';
import { componentsBelow, tcbEncodingOf, tcbText } from '../../../attestation/sev-snp/tcb.ts';
import {
  evidenceOf,
  LAUNCH,
  makeChain,
  makeKeys,
  makeList,
  MILAN_REPORT,
  MILAN_TCB,
  NOW,
  pin,
  POLICY,
  signReport,
  TURIN_TCB,
} from './lookalike.ts';
import type { Document } from './lookalike.ts';

/** The codes of an appraisal of the guest that end in no, each once. */
function guestCodes(changes: Partial<AttestationReport>, policy: Document = {}): readonly string[] {
  const checks = new Checklist();
  const report = { ...MILAN_REPORT, reportData: new Uint8Array(64).fill(1), ...changes };
  appraiseGuest(
    report,
    readPolicy({ ...POLICY, ...policy }),
    [readReferenceValues(LAUNCH) as LaunchReference],
    checks,
  );
  return checks.failed.map(({ refusal }) => refusal.code);
}

describe('the guest', () => {
  it('has no migration agent only where every byte of its id says so', () => {
    expect(guestCodes({})).toEqual([]);
    for (const place of [0, 15, 31]) {
      const reportIdMa = new Uint8Array(32).fill(0xff).with(place, 0xfe);
      expect(guestCodes({ reportIdMa })).toEqual(['snp-migration-agent']);
    }
    expect(guestCodes({ reportIdMa: new Uint8Array(32).with(3, 0xff) })).toEqual(['snp-migration-agent']);
  });

  it('is compared by minor version of the ABI only within the same major one', () => {
    const abi = (abiMajor: number, abiMinor: number) => ({
      policy: { ...MILAN_REPORT.policy, abiMajor, abiMinor },
    });
    const minimum = { guestPolicy: { minimumAbi: { major: 2, minor: 5 }, required: [], forbidden: [] } };
    expect(guestCodes(abi(2, 5), minimum)).toEqual([]);
    expect(guestCodes(abi(3, 0), minimum)).toEqual([]);
    expect(guestCodes(abi(2, 4), minimum)).toEqual(['snp-guest-abi']);
    expect(guestCodes(abi(1, 9), minimum)).toEqual(['snp-guest-abi']);
  });
});

describe('TCB versions', () => {
  it('have the encoding of their product line', () => {
    expect((['Milan', 'Genoa', 'Turin'] as const).map(tcbEncodingOf)).toEqual(['milan', 'milan', 'turin']);
  });

  it('are below one another where only one has a component, whichever it is', () => {
    const withoutFmc = { ...TURIN_TCB, fmc: undefined };
    expect(componentsBelow(TURIN_TCB, TURIN_TCB)).toEqual([]);
    expect(componentsBelow(withoutFmc, withoutFmc)).toEqual([]);
    expect(componentsBelow(withoutFmc, TURIN_TCB)).toEqual(['fmc']);
    expect(componentsBelow(TURIN_TCB, withoutFmc)).toEqual(['fmc']);
  });

  it('are shown with the components that they have', () => {
    expect(tcbText(MILAN_TCB)).toBe('bootLoader 4, tee 0, snp 27, microcode 222');
    expect(tcbText(TURIN_TCB)).toBe('fmc 1, bootLoader 1, tee 1, snp 4, microcode 82');
  });
});

describe('a revocation list', () => {
  it('is shown to have been looked at, and what it revokes is named', async () => {
    const keys = makeKeys();
    const chain = makeChain(keys);
    const expectedDeviceValue = new Uint8Array(32).fill(7);
    const purpose = { deviceValue: expectedDeviceValue, companionsDigest: NO_COMPANIONS };
    const reportData = computeReportData(purpose);
    const evidence = sevSnpDeviceClass.parse(
      evidenceOf(signReport({ ...MILAN_REPORT, reportData }, keys.chip), chain),
      'evidence',
    );
    const verify = (revoked: readonly string[]) =>
      sevSnpDeviceClass.verify(evidence, {
        expectedDeviceValue,
        companionsDigest: NO_COMPANIONS,
        lab: 'lab-one',
        time: NOW,
        anchors: [pin(chain)],
        collateral: new Map([
          [collateralNames.revocationList('Milan'), makeList(chain, keys.ark, { revoked })],
        ]),
        enrolment: undefined,
        referenceValues: [LAUNCH],
        policy: POLICY,
      });
    const { checks } = await verify([]);
    expect(checks.filter(({ id }) => /^snp-(?:revocation-list|authority-revoked)$/.test(id))).toMatchObject([
      { field: 'crl/Milan', expected: 'a list of ARK-Milan that is in force', outcome: 'passed' },
      { field: 'chain', found: 'none of them is', outcome: 'passed' },
    ]);
    expect(await verify(['010001'])).toMatchObject({
      outcome: 'refused',
      refusals: [{ code: 'snp-authority-revoked', found: 'serial number 010001 revoked' }],
    });
  });
});
