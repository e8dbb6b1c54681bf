/** Makers of TPMs: the pinned roots, and the certificates between them and real endorsement certificates. */

import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fromHex, toHex } from '../../../attestation/core/bytes.ts';
import type { TrustAnchor } from '../../../attestation/core/certificate-path.ts';
import { KeyUsage, readCertificate } from '../../../attestation/core/x509.ts';
import { discreteTpmAnchors, TPM_MAKERS } from '../../../attestation/tpm/anchors/tpm-roots.ts';
import { verifyEndorsementCertificate } from '../../../attestation/tpm/endorsement-certificate.ts';
import { findMakerChain } from '../../../attestation/tpm/maker-chain.ts';
import { vectorEntries, vectorFile, vectorsMissing } from '../../support/vectors.ts';
import type { VectorEntry } from '../../support/vectors.ts';

const missing = vectorsMissing('tpm');
const entries = missing === undefined ? vectorEntries('tpm', 'ekcert') : [];
const TIME = 1_750_000_000;

const makerAnchors: readonly TrustAnchor[] = TPM_MAKERS.map(({ commonName, publicKeyDigest }) => ({
  name: commonName,
  publicKeyDigest: fromHex(publicKeyDigest, commonName),
  simulated: false,
}));

function chainOf(entry: VectorEntry<unknown>): readonly Uint8Array[] {
  const names = Object.keys(entry.files).filter((name) => /^ca\d$/.test(name));
  return names.sort().map((name) => vectorFile('tpm', entry, name));
}

function readUsage(certificate: Uint8Array): ReadonlySet<number> | undefined {
  try {
    return readCertificate(certificate, 'certificate').keyUsage;
  } catch {
    return undefined;
  }
}

/** What is readable of all chains of the vectors, upside down. */
function keptCertificates(): readonly Uint8Array[] {
  return entries
    .flatMap(chainOf)
    .filter((bytes) => {
      try {
        return readCertificate(bytes, 'kept').isAuthority;
      } catch {
        return false;
      }
    })
    .reverse();
}

async function outcomeOf(
  certificate: Uint8Array,
  anchors: readonly TrustAnchor[],
): Promise<{ readonly code: string; readonly anchor: string }> {
  const intermediates = findMakerChain(certificate, keptCertificates(), anchors);
  const inputs = { intermediates, anchors, time: TIME, validity: 'enforce' } as const;
  const verdict = await verifyEndorsementCertificate(certificate, inputs);
  return verdict.outcome === 'accepted'
    ? { code: 'accepted', anchor: verdict.claims.anchor }
    : { code: verdict.refusals[0].code, anchor: '' };
}

describe.skipIf(missing !== undefined)(`makers of TPMs ${missing ?? ''}`, () => {
  it.each(TPM_MAKERS)('EK-9: $commonName is the root of a genuine certificate', async (maker) => {
    const roots = entries.flatMap((entry) => chainOf(entry).slice(-1));
    const root = roots.find((bytes) => toHex(sha256(bytes)) === maker.certificateDigest);
    const { subjectPublicKeyInfo, notBefore, notAfter } = readCertificate(root!, maker.commonName);
    expect(toHex(sha256(subjectPublicKeyInfo))).toBe(maker.publicKeyDigest);
    expect(notBefore).toBe(Date.parse(maker.notBefore) / 1000);
    expect(notAfter).toBe(Date.parse(maker.notAfter) / 1000);
    const outcomes = await Promise.all(
      entries.map((entry) =>
        outcomeOf(vectorFile('tpm', entry, 'cert'), makerAnchors).catch(() => undefined),
      ),
    );
    expect(outcomes).toContainEqual({ code: 'accepted', anchor: maker.commonName });
  });

  it('EK-9: nothing virtual is accepted under the anchors of discrete TPMs', () => {
    expect(discreteTpmAnchors).toHaveLength(TPM_MAKERS.filter(({ kind }) => kind === 'discrete').length);
    const virtual = TPM_MAKERS.filter(({ kind }) => kind === 'virtual');
    for (const { publicKeyDigest } of virtual)
      expect(discreteTpmAnchors.some((anchor) => toHex(anchor.publicKeyDigest) === publicKeyDigest)).toBe(
        false,
      );
  });

  it('EK-10: an intermediate authority stands as an anchor in the place of its root', async () => {
    const entry = entries.find((one) => chainOf(one).length > 2 && one.verdict === 'valid');
    const [issuer] = chainOf(entry!);
    const anchors = [{ name: 'intermediate', certificate: issuer!, simulated: false }];
    const certificate = vectorFile('tpm', entry!, 'cert');
    expect(findMakerChain(certificate, keptCertificates(), anchors)).toEqual([]);
    expect(await outcomeOf(certificate, anchors)).toEqual({ code: 'accepted', anchor: 'intermediate' });
  });

  it.each(missing === undefined ? vectorEntries('tpm', 'certify') : [])(
    'EK-6: the certified attestation key of $id is no endorsement key',
    async (entry) => {
      const certificate = vectorFile('tpm', entry, 'aikCert');
      const issuer = vectorFile('tpm', entry, 'aikIssuer');
      const verdict = await verifyEndorsementCertificate(certificate, {
        intermediates: [],
        anchors: [{ name: 'issuer', certificate: issuer, simulated: false }],
        time: readCertificate(certificate, 'aikCert').notBefore,
        validity: 'enforce',
      });
      expect(verdict).toMatchObject({ outcome: 'refused', refusals: [{ code: 'tpm-ek-purpose' }] });
    },
  );

  it('EK-18: nor is one whose certificate names the purpose of endorsement keys, or none', async () => {
    const signing = entries.filter(
      (entry) => readUsage(vectorFile('tpm', entry, 'cert'))?.has(KeyUsage.digitalSignature) === true,
    );
    expect(signing.length).toBeGreaterThan(1);
    for (const entry of signing) {
      const anchors = chainOf(entry).map((certificate) => ({ name: 'any', certificate, simulated: false }));
      const { code } = await outcomeOf(vectorFile('tpm', entry, 'cert'), anchors);
      expect(['tpm-ek-key-usage', 'tpm-ek-purpose']).toContain(code);
    }
  });

  it('EK-11: what is kept is not believed for lying there', async () => {
    const [entry] = entries.filter((one) => chainOf(one).length > 1);
    expect(await outcomeOf(vectorFile('tpm', entry!, 'cert'), [])).toMatchObject({ code: 'path-untrusted' });
    const certificate = vectorFile('tpm', entry!, 'cert');
    expect(findMakerChain(certificate, [], makerAnchors)).toEqual([]);
  });

  it('EK-11: certificates that name each other end the search', () => {
    const kept = keptCertificates();
    const certificate = vectorFile('tpm', entries[0]!, 'cert');
    fc.assert(
      fc.property(fc.shuffledSubarray([...kept]), (some) => {
        const chain = findMakerChain(certificate, [...some, ...some], []);
        expect(chain.length).toBeLessThanOrEqual(6);
        expect(new Set(chain).size).toBe(chain.length);
      }),
      { numRuns: 30 },
    );
  });
});
