/** What AMD itself has signed: its roots, authorities, lists and certificates among the shared vectors. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { sha256 } from '@noble/hashes/sha2.js';
import { describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import { readCertificateList, verifyCertificateList } from '../../../attestation/core/certificate-list.ts';
import { isSignedBy } from '../../../attestation/core/certificate-path.ts';
import { NameAttribute, nameAttributes } from '../../../attestation/core/distinguished-name.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import type { Certificate } from '../../../attestation/core/x509.ts';
import { AMD_ROOTS, amdAnchors } from '../../../attestation/sev-snp/anchors/amd-roots.ts';
import { certificatesOfTable } from '../../../attestation/sev-snp/evidence.ts';
import { readKeyCertificate } from '../../../attestation/sev-snp/key-certificate.ts';
import { verifySevSnpReport } from '../../../attestation/sev-snp/verify.ts';
import { refusalCode, refusalCodeAsync } from '../../support/refusal-code.ts';
import { vectorFolder, vectorsMissing } from '../../support/vectors.ts';
import { LAUNCH, POLICY } from './lookalike.ts';

const missing = vectorsMissing('snp');
const file = (path: string): Uint8Array => new Uint8Array(readFileSync(join(vectorFolder('snp'), path)));
const certificate = (name: string): Certificate => readCertificate(file(`certs/${name}.der`), name);
const seconds = (text: string): number => Date.parse(text) / 1000;

describe.skipIf(missing !== undefined)(
  `AMD’s certificates${missing === undefined ? '' : ` (${missing})`}`,
  () => {
    it.each(AMD_ROOTS.map((root) => [root.commonName, root] as const))(
      'SN-15: %s is the one that is pinned',
      async (name, root) => {
        const ark = certificate(`${root.line.toLowerCase()}-ark`);
        expect(toHex(sha256(ark.subjectPublicKeyInfo))).toBe(root.publicKeyDigest);
        expect(toHex(sha256(ark.encoded))).toBe(root.certificateDigest);
        expect(toHex(ark.serialNumber)).toBe(root.serialNumber);
        expect([ark.notBefore, ark.notAfter]).toEqual([seconds(root.notBefore), seconds(root.notAfter)]);
        expect(nameAttributes(ark.subject, 'ark').get(NameAttribute.commonName)).toBe(name);
        expect(await isSignedBy(ark, ark, 'ark')).toBe(true);
      },
    );

    it('SN-23: a trailer field that is written out is read, and no other than the default', () => {
      const bytes = file('certs/milan-ark.der');
      expect(refusalCode(() => readCertificate(bytes, 'ark'))).toBe('accepted');
      const changed = Buffer.from(
        Buffer.from(bytes).toString('hex').replaceAll('a303020101', 'a303020102'),
        'hex',
      );
      expect(refusalCode(() => readCertificate(changed, 'ark'))).toBe('certificate-algorithm');
    });

    it('SN-24, SN-25: the list of Genoa names the first authority and not the second', async () => {
      const list = readCertificateList(file('crl/genoa-crl-2022.der'), 'crl');
      const ark = certificate('genoa-ark');
      const at = (time: string) =>
        refusalCodeAsync(() => verifyCertificateList(list, ark, seconds(time), 'crl'));
      expect(await at('2022-12-01T00:00:00Z')).toBe('accepted');
      expect(await at('2026-09-15T00:00:00Z')).toBe('crl-stale');
      expect(await at('2022-01-01T00:00:00Z')).toBe('crl-not-yet-valid');
      expect(list.revoked.has(toHex(certificate('genoa-ask-REVOKED-20001').serialNumber))).toBe(true);
      expect(list.revoked.has(toHex(certificate('genoa-ask').serialNumber))).toBe(false);
      const milan = certificate('milan-ark');
      const foreign = () => verifyCertificateList(list, milan, seconds('2022-12-01T00:00:00Z'), 'crl');
      expect(await refusalCodeAsync(foreign)).toBe('crl-issuer');
    });

    it('SN-24: every bit of a list is signed or refused', async () => {
      const bytes = file('crl/genoa-crl-2022.der');
      const ark = certificate('genoa-ark');
      for (let at = 0; at < bytes.length; at += 7) {
        const changed = bytes.slice();
        changed[at] = changed[at]! ^ (1 << (at % 8));
        const code = await refusalCodeAsync(() =>
          verifyCertificateList(
            readCertificateList(changed, 'crl'),
            ark,
            seconds('2022-12-01T00:00:00Z'),
            'crl',
          ),
        );
        expect([at, code]).not.toEqual([at, 'accepted']);
      }
    });

    it('SN-21: the wrapped form of a hardware id is refused', () => {
      const wrapped = file('certs/negative-vcek-wrapped-hwid.der');
      expect(refusalCode(() => readKeyCertificate(wrapped, 'vcek'))).toBe('snp-certificate-extension');
    });

    it('SN-12, SN-13: the table of a real host has three certificates in PEM', () => {
      const { vcek, vlek, intermediate, ark } = certificatesOfTable(
        file('genoa-v3-auxblob/auxblob.bin'),
        'table',
      );
      expect(vlek).toBeUndefined();
      expect(intermediate).toEqual(file('certs/genoa-ask.der'));
      expect(ark).toEqual(file('certs/genoa-ark.der'));
      expect(vcek).toEqual(file('genoa-v3-auxblob/vcek.der'));
    });
  },
);

describe.skipIf(missing !== undefined)(`AMD’s chain in force ${missing ?? ''}`, () => {
  const judge = (vector: string, line: string, authority: string, time: string) =>
    verifySevSnpReport({
      report: file(`${vector}/report.bin`),
      certificates: {
        vcek: file(`${vector}/vcek.der`),
        vlek: undefined,
        intermediate: file(`certs/${authority}.der`),
        ark: file(`certs/${line}-ark.der`),
      },
      anchors: amdAnchors,
      collateral: new Map([['crl/Milan', file('crl/milan-crl-2022.der')]]),
      time: seconds(time),
      expectedReportData: undefined,
      policy: POLICY,
      referenceValues: [LAUNCH],
    });

  it('SN-15, SN-24: a genuine report is authentic under the pins and the list of its time', async () => {
    const verdict = await judge('milan-v2-vcek-hostdata', 'milan', 'milan-ask', '2023-03-01T00:00:00Z');
    if (verdict.outcome !== 'refused') throw new Error('the measurement is nobody’s');
    expect(verdict.family).toBe('unacceptable');
    const passed = verdict.checks.filter(({ outcome }) => outcome === 'passed').map(({ id }) => id);
    expect(passed).toEqual(expect.arrayContaining(['snp-path', 'snp-revocation-list', 'snp-signature']));
  });

  it('SN-15: another authority of the same name did not certify it', async () => {
    const authority = 'genoa-ask-REVOKED-20001';
    const verdict = await judge('genoa-v5-vcek', 'genoa', authority, '2026-03-01T00:00:00Z');
    expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'path-signature' }] });
  });
});
