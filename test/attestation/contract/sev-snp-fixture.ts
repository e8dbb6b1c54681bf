/** The contract's view of the class `sev-snp`: a lookalike of AMD's hierarchy signs reports that can be broken. */

import { sign } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { sha256 } from '@noble/hashes/sha2.js';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { NO_COMPANIONS } from '../../../attestation/core/composite/companions.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { collateralNames } from '../../../attestation/sev-snp/chain.ts';
import { sevSnpDeviceClass } from '../../../attestation/sev-snp/device-class.ts';
import { SIGNED_BYTES } from '../../../attestation/sev-snp/layout.ts';
import { computeReportData } from '../../../attestation/sev-snp/report-data.ts';
import {
  evidenceOf,
  LAUNCH,
  makeChain,
  makeKeys,
  makeList,
  MILAN_REPORT,
  NOW,
  pin,
  POLICY,
  signReport,
} from '../sev-snp/lookalike.ts';
import type { Keys } from '../sev-snp/lookalike.ts';
import type { DeviceFixture, Document, SignedWrong } from './fixture.ts';

export function makeSevSnpFixture(): DeviceFixture {
  const keys = makeKeys();
  const chain = makeChain(keys);
  const expectedDeviceValue = sha256(Uint8Array.of(1));
  const reportData = computeReportData({
    deviceValue: expectedDeviceValue,
    companionsDigest: NO_COMPANIONS,
  });
  const report = signReport({ ...MILAN_REPORT, reportData }, keys.chip);
  const evidence = evidenceOf(report, chain);
  const { subjectPublicKeyInfo } = readCertificate(chain.intermediate, 'intermediate');
  const inputs: DeviceInputs = {
    expectedDeviceValue,
    companionsDigest: NO_COMPANIONS,
    lab: 'lab-one',
    time: NOW,
    anchors: [pin(chain)],
    collateral: new Map([[collateralNames.revocationList('Milan'), makeList(chain, keys.ark)]]),
    enrolment: undefined,
    referenceValues: [LAUNCH],
    policy: POLICY,
  };
  const { notBefore, notAfter } = readCertificate(chain.key, 'key');
  return {
    deviceClass: sevSnpDeviceClass,
    evidence,
    inputs,
    binaryMembers: ['report', 'certificateTable'],
    // Hosts give tables in whole pages (docs/spec/sev-snp.md, section 4).
    zeroPaddedMembers: ['certificateTable'],
    reserved: reservedPlaces(report, evidence, keys),
    foreignAnchors: [{ ...pin(chain), publicKeyDigest: sha256(subjectPublicKeyInfo) }],
    expired: { before: notBefore - 1, after: notAfter + 1 },
    expectedCodes: {
      anchor: ['path-length', 'path-untrusted'],
      companions: ['snp-report-data'],
      'device-value': ['snp-report-data'],
      'reference-values': ['snp-measurement-missing'],
      validity: ['path-validity'],
    },
  };
}

/** Reserved places of a report of version 3: offset and the bit that is set there. */
const RESERVED: readonly (readonly [at: number, bit: number])[] = [
  [0x0b, 7], // POLICY
  [0x0f, 7],
  [0x48, 5], // key information
  [0x4c, 0],
  [0x4f, 7],
  [0x3a, 0], // CURRENT_TCB
  [0x183, 3], // REPORTED_TCB
  [0x18b, 0],
  [0x19f, 7],
  [0x1e5, 1], // COMMITTED_TCB
  [0x1eb, 0],
  [0x1ef, 0],
  [0x1f5, 0], // LAUNCH_TCB
  [0x1f8, 0],
  [0x29f, 7],
  [0x2d0, 0], // R
  [0x318, 0], // S
  [0x330, 0],
  [0x49f, 7],
];

function reservedPlaces(report: Uint8Array, evidence: Document, keys: Keys): readonly SignedWrong[] {
  return RESERVED.map(([at, bit]) => {
    const changed = report.slice();
    changed[at] = (changed[at] ?? 0) | (1 << bit);
    const signed = at < SIGNED_BYTES ? signedAgain(changed, keys.chip) : changed;
    return {
      name: `byte 0x${at.toString(16)} bit ${bit}`,
      evidence: { ...evidence, report: toBase64(signed) },
    };
  });
}

/** Signs bytes that are no report any more, which `signReport` could not write. */
function signedAgain(report: Uint8Array, key: KeyObject): Uint8Array {
  const signature = sign('sha384', report.subarray(0, SIGNED_BYTES), { key, dsaEncoding: 'ieee-p1363' });
  const signed = report.slice();
  signed.set(Uint8Array.from(signature.subarray(0, 48)).reverse(), 0x2a0);
  signed.set(Uint8Array.from(signature.subarray(48)).reverse(), 0x2e8);
  return signed;
}
