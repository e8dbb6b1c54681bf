/** What mutations of the code showed that nothing else looked at. */

import { describe, expect, it } from 'vitest';

import { collateralNames } from '../../../attestation/sev-snp/chain.ts';
import { computeReportData } from '../../../attestation/sev-snp/report-data.ts';
import { sevSnpDeviceClass } from '../../../attestation/sev-snp/device-class.ts';
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
    const keys = await makeKeys();
    const chain = makeChain(keys);
    const expectedDeviceValue = new Uint8Array(32).fill(7);
    const reportData = computeReportData(expectedDeviceValue);
    const evidence = sevSnpDeviceClass.parse(
      evidenceOf(signReport({ ...MILAN_REPORT, reportData }, keys.chip), chain),
      'evidence',
    );
    const verify = (revoked: readonly string[]) =>
      sevSnpDeviceClass.verify(evidence, {
        expectedDeviceValue,
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
