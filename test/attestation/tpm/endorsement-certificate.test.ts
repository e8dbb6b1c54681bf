import { sha256 } from '@noble/hashes/sha2.js';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes } from '../../../attestation/core/bytes.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { verifyEndorsementCertificate } from '../../../attestation/tpm/endorsement-certificate.ts';
import type { EndorsementInputs } from '../../../attestation/tpm/endorsement-certificate.ts';
import {
  AUTHORITY_EXTENSIONS,
  issueCertificate,
  makeAuthority,
  rsaKeys,
  tpmNameExtension,
  tpmSpecificationExtension,
} from '../../support/certificates.ts';
import type { Authority, CertificateOptions } from '../../support/certificates.ts';

const vendor = makeAuthority('Test TPM vendor');
const anchor = { name: 'vendor', certificate: vendor.der, simulated: false };
const TIME = 1_800_000_000;
const EK_PURPOSE = '2.23.133.8.1';
const AK_PURPOSE = '2.23.133.8.3';

const names = { '2.23.133.2.1': 'id:00001014', '2.23.133.2.2': 'test', '2.23.133.2.3': 'id:1' };
const parts = {
  constraints: { name: 'basicConstraints', cA: false, critical: true },
  usage: { name: 'keyUsage', keyEncipherment: true, critical: true },
  purpose: { name: 'extKeyUsage', [EK_PURPOSE]: true },
  names: tpmNameExtension(names),
  specification: tpmSpecificationExtension('2.0'),
} as const;

type Extension = CertificateOptions['extensions'][number];

function endorsement(
  changes: Readonly<Record<string, Extension | undefined>> = {},
  options: Partial<CertificateOptions> = {},
  issuer: Omit<Authority, 'der'> = vendor,
): Uint8Array<ArrayBuffer> {
  const chosen: Readonly<Record<string, Extension | undefined>> = { ...parts, ...changes };
  const extensions = Object.values(chosen).filter((extension) => extension !== undefined);
  return issueCertificate(issuer, { subject: '', keys: rsaKeys('ek'), extensions, ...options });
}

function authority(
  name: string,
  issuer: Omit<Authority, 'der'>,
  extensions: CertificateOptions['extensions'] = AUTHORITY_EXTENSIONS,
): Authority {
  const keys = rsaKeys(name);
  return { name, keys, der: issueCertificate(issuer, { subject: name, keys, extensions }) };
}

async function code(certificate: Uint8Array, inputs: Partial<EndorsementInputs> = {}): Promise<string> {
  const verdict = await verifyEndorsementCertificate(certificate, {
    intermediates: [],
    anchors: [anchor],
    time: TIME,
    validity: 'enforce',
    ...inputs,
  });
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals[0].code;
}

describe('endorsement certificates', () => {
  it('EV-15: accepts a good one and says what it found', async () => {
    const verdict = await verifyEndorsementCertificate(endorsement(), {
      intermediates: [],
      anchors: [{ ...anchor, simulated: true }],
      time: TIME,
      validity: 'enforce',
    });
    expect(verdict).toMatchObject({
      outcome: 'accepted',
      claims: {
        simulated: true,
        manufacturer: 'id:00001014',
        model: 'test',
        version: 'id:1',
        anchor: 'vendor',
      },
    });
  });

  it('EV-12: cuts padding of zeros and of erased bytes and refuses anything else behind', async () => {
    const padded = (...rest: number[]): Uint8Array => concatBytes(endorsement(), Uint8Array.from(rest));
    expect(await code(padded(0, 0, 0))).toBe('accepted');
    expect(await code(padded(0xff, 0xff))).toBe('accepted');
    expect(await code(padded(0, 0xff))).toBe('tpm-ek-padding');
    expect(await code(padded(0x30, 0x00))).toBe('tpm-ek-padding');
  });

  it('EV-12: refuses an extension that stands there twice', async () => {
    expect(await code(endorsement({ again: parts.usage }))).toBe('certificate-extension');
  });

  it.each([
    [
      'the purpose of an attestation key',
      { purpose: { name: 'extKeyUsage', [AK_PURPOSE]: true } },
      'tpm-ek-purpose',
    ],
    ['the purpose of a server', { purpose: { name: 'extKeyUsage', serverAuth: true } }, 'tpm-ek-purpose'],
    ['no purpose', { purpose: undefined }, 'tpm-ek-purpose'],
    [
      'an authority',
      { constraints: { name: 'basicConstraints', cA: true, critical: true } },
      'tpm-ek-purpose',
    ],
    [
      'a signing key',
      { usage: { name: 'keyUsage', digitalSignature: true, critical: true } },
      'tpm-ek-key-usage',
    ],
    [
      'a key that also signs',
      { usage: { name: 'keyUsage', digitalSignature: true, keyEncipherment: true, critical: true } },
      'tpm-ek-key-usage',
    ],
    ['no key usage', { usage: undefined }, 'tpm-ek-key-usage'],
    ['no TPM name', { names: undefined }, 'tpm-ek-identity'],
    ['no manufacturer', { names: tpmNameExtension({ ...names, '2.23.133.2.1': 'IBM' }) }, 'tpm-ek-identity'],
    [
      'an unprintable model',
      { names: tpmNameExtension({ ...names, '2.23.133.2.2': 'a\nb' }) },
      'tpm-ek-identity',
    ],
    ['no specification', { specification: undefined }, 'tpm-ek-family'],
    ['family 1.2', { specification: tpmSpecificationExtension('1.2') }, 'tpm-ek-family'],
    [
      'an unknown critical extension',
      { other: { id: '1.2.3.4', critical: true, value: '\x05\x00' } },
      'path-critical-extension',
    ],
  ])('EV-13, EV-15: refuses %s', async (_, changes, expected) => {
    expect(await code(endorsement(changes))).toBe(expected);
  });
});

describe('paths', () => {
  it('EV-13: count only anchors of endorsements', async () => {
    const other = { ...anchor, purpose: 'reference-values' } as const;
    expect(await code(endorsement(), { anchors: [{ ...anchor, purpose: 'endorsements' }] })).toBe('accepted');
    expect(await code(endorsement(), { anchors: [other] })).toBe('path-untrusted');
    const publicKeyDigest = sha256(readCertificate(vendor.der, 'vendor').subjectPublicKeyInfo);
    const pin = { name: 'vendor', publicKeyDigest, simulated: false } as const;
    const withRoot = { intermediates: [vendor.der] };
    expect(await code(endorsement(), { ...withRoot, anchors: [pin] })).toBe('accepted');
    const otherPin = { ...pin, purpose: 'attestation-results' } as const;
    expect(await code(endorsement(), { ...withRoot, anchors: [other, otherPin] })).toBe('path-untrusted');
  });

  it('EV-13: refuses without anchors and with an anchor that only has the same name', async () => {
    expect(await code(endorsement(), { anchors: [] })).toBe('path-untrusted');
    const impostor = issueCertificate(
      { name: vendor.name, keys: rsaKeys('impostor') },
      { subject: vendor.name, keys: rsaKeys('impostor'), extensions: AUTHORITY_EXTENSIONS },
    );
    const anchors = [{ name: 'vendor', certificate: impostor, simulated: false }];
    expect(await code(endorsement(), { anchors })).toBe('path-untrusted');
    expect(await code(endorsement(), { anchors: [...anchors, anchor] })).toBe('accepted');
  });

  it('EV-13: goes up over intermediates in order and refuses others', async () => {
    const first = authority('first', vendor);
    const second = authority('second', first);
    const leaf = endorsement({}, {}, second);
    expect(await code(leaf, { intermediates: [second.der, first.der] })).toBe('accepted');
    expect(await code(leaf, { intermediates: [second.der, first.der, vendor.der] })).toBe('accepted');
    expect(await code(leaf, { intermediates: [first.der, second.der] })).toBe('path-untrusted');
    expect(await code(leaf, { intermediates: [second.der] })).toBe('path-untrusted');
    expect(await code(endorsement(), { intermediates: [first.der] })).toBe('path-length');
    expect(await code(leaf, { intermediates: Array<Uint8Array>(7).fill(second.der) })).toBe('path-length');
  });

  it('EV-13: refuses an issuer that is no authority or whose path length is used up', async () => {
    const device = authority('device', vendor, [parts.constraints, parts.usage]);
    expect(await code(endorsement({}, {}, device), { intermediates: [device.der] })).toBe('path-authority');
    const noSigning = authority('no signing', vendor, [AUTHORITY_EXTENSIONS[0]!, parts.usage]);
    expect(await code(endorsement({}, {}, noSigning), { intermediates: [noSigning.der] })).toBe(
      'path-authority',
    );
    const constraints = { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true };
    const short = authority('short', vendor, [constraints, AUTHORITY_EXTENSIONS[1]!]);
    const below = authority('below', short);
    expect(await code(endorsement({}, {}, short), { intermediates: [short.der] })).toBe('accepted');
    expect(await code(endorsement({}, {}, below), { intermediates: [below.der, short.der] })).toBe(
      'path-length',
    );
  });

  it('EV-13: refuses a copied name, and signatures with SHA-1', async () => {
    const first = authority('first', vendor);
    const copied = { name: 'first', keys: rsaKeys('impostor') };
    expect(await code(endorsement({}, {}, copied), { intermediates: [first.der] })).toBe('path-signature');
    expect(await code(endorsement({}, { digest: 'sha1' }))).toBe('certificate-algorithm');
  });

  it('EV-14: enforces validity, and drops its end only by stated policy', async () => {
    const old = endorsement({}, { notAfter: new Date('2021-01-01T00:00:00Z') });
    expect(await code(old)).toBe('path-validity');
    expect(await code(old, { validity: 'ignore-expiry' })).toBe('accepted');
    const young = endorsement({}, { notBefore: new Date('2039-01-01T00:00:00Z') });
    expect(await code(young)).toBe('path-validity');
    expect(await code(young, { validity: 'ignore-expiry' })).toBe('path-validity');
  });

  it('EV-5: answers any bytes and any flipped bit with a verdict', async () => {
    const good = endorsement();
    await fc.assert(
      fc.asyncProperty(fc.nat(good.length - 1), fc.integer({ min: 1, max: 255 }), async (at, mask) => {
        const bytes = Uint8Array.from(good, (byte, i) => (i === at ? byte ^ mask : byte));
        expect(await code(bytes)).not.toBe('accepted');
      }),
      { numRuns: 500 },
    );
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 200 }), async (bytes) => {
        expect(await code(bytes)).not.toBe('accepted');
      }),
    );
  });
});
