/** Endorsement certificates as makers write and store them (docs/spec/tpm-identity.md, section 1). */

import fc from 'fast-check';
import forge from 'node-forge';
import { describe, expect, it } from 'vitest';

import { concatBytes, fromHex, toHex } from '../../../attestation/core/bytes.ts';
import { readSubjectPublicKeyInfo } from '../../../attestation/core/public-key.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { Checklist } from '../../../attestation/core/verdict.ts';
import { readCertificate } from '../../../attestation/core/x509.ts';
import { verifyEndorsementCertificate } from '../../../attestation/tpm/endorsement-certificate.ts';
import { readEndorsementKey } from '../../../attestation/tpm/endorsement-key.ts';
import { demandPlainStorage, readStoredCertificate } from '../../../attestation/tpm/stored-certificate.ts';
import {
  issueCertificate,
  makeAuthority,
  rsaKeys,
  tpmNameExtension,
  tpmSpecificationExtension,
} from '../../support/certificates.ts';
import { refusalCode } from '../../support/refusal-code.ts';

const vendor = makeAuthority('Test TPM vendor');
const TIME = 1_800_000_000;

const certificate = issueCertificate(vendor, {
  subject: '',
  keys: rsaKeys('ek'),
  extensions: [
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', keyEncipherment: true, critical: true },
    { name: 'extKeyUsage', '2.23.133.8.1': true },
    tpmNameExtension({ '2.23.133.2.1': 'id:00001014', '2.23.133.2.2': 'test', '2.23.133.2.3': 'id:1' }),
    tpmSpecificationExtension('2.0'),
  ],
});

function header(length = certificate.length): Uint8Array {
  const size = length + 2;
  return Uint8Array.of(0x10, 0x01, 0, size >> 8, size & 0xff, 0x10, 0x02);
}

async function codeOf(stored: Uint8Array): Promise<string> {
  const verdict = await verifyEndorsementCertificate(stored, {
    intermediates: [],
    anchors: [{ name: 'vendor', certificate: vendor.der, simulated: false }],
    time: TIME,
    validity: 'enforce',
  });
  return verdict.outcome === 'accepted' ? 'accepted' : verdict.refusals[0].code;
}

describe('stored certificates', () => {
  it('EK-1, EK-2: are cut out of their header and their padding', async () => {
    expect(await codeOf(concatBytes(header(), certificate))).toBe('accepted');
    for (const filler of [0, 0xff]) {
      const padding = new Uint8Array(40).fill(filler);
      expect(await codeOf(concatBytes(header(), certificate, padding))).toBe('accepted');
      expect(await codeOf(concatBytes(certificate, padding))).toBe('accepted');
    }
  });

  it('EK-1: are refused behind a header that says something else', async () => {
    expect(await codeOf(concatBytes(header(certificate.length - 1), certificate))).toBe('tpm-ek-padding');
    for (const [at, value] of [
      [2, 1],
      [5, 0x11],
      [6, 0x03],
    ] as const) {
      const other = header().map((byte, i) => (i === at ? value : byte));
      expect(await codeOf(concatBytes(other, certificate))).toMatch(/^layout-/);
    }
    expect(await codeOf(header())).toMatch(/^der-/);
  });

  it('EK-2: are refused with anything but one kind of padding', async () => {
    for (const rest of ['01', '00ff', 'ff00', '0000000001'])
      expect(await codeOf(concatBytes(certificate, fromHex(rest, 'rest')))).toBe('tpm-ek-padding');
  });

  it('EV-5: any bytes are read or refused, and what is read is in them', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), fc.boolean(), (bytes, hasHeader) => {
        const stored = hasHeader ? concatBytes(header(), bytes) : bytes;
        try {
          const read = readStoredCertificate(stored, 'stored');
          expect(toHex(stored)).toContain(toHex(read.encoded));
          demandPlainStorage(read, new Checklist());
        } catch (error) {
          expect(isRefusal(error)).toBe(true);
        }
      }),
    );
  });
});

const { asn1 } = forge;

/** The key of the certificate under another algorithm. @param parameters DER of what follows the identifier */
function keyUnder(identifier: string, parameters: string): Uint8Array {
  const { subjectPublicKeyInfo } = readCertificate(certificate, 'certificate');
  const info = asn1.fromDer(Buffer.from(subjectPublicKeyInfo).toString('binary'));
  const [, bits] = info.value as forge.asn1.Asn1[];
  const { UNIVERSAL } = asn1.Class;
  const oid = asn1.create(UNIVERSAL, asn1.Type.OID, false, asn1.oidToDer(identifier).getBytes());
  const rest = parameters === '' ? [] : [asn1.fromDer(forge.util.hexToBytes(parameters))];
  const algorithm = asn1.create(UNIVERSAL, asn1.Type.SEQUENCE, true, [oid, ...rest]);
  const changed = asn1.create(UNIVERSAL, asn1.Type.SEQUENCE, true, [algorithm, bits!]);
  return Uint8Array.from(Buffer.from(asn1.toDer(changed).getBytes(), 'binary'));
}

const RSAES_OAEP = '1.2.840.113549.1.1.7';
describe('keys of endorsement certificates', () => {
  const { subjectPublicKeyInfo } = readCertificate(certificate, 'certificate');

  it('EK-3: are the same under id-RSAES-OAEP, whatever its parameters say', () => {
    const ordinary = readEndorsementKey(subjectPublicKeyInfo, 'key');
    for (const parameters of ['', '3000'])
      expect(readEndorsementKey(keyUnder(RSAES_OAEP, parameters), 'key')).toEqual(ordinary);
  });

  it('EK-3: are refused under another algorithm, or with parameters of another kind', () => {
    expect(refusalCode(() => readEndorsementKey(keyUnder('1.2.840.113549.1.1.10', '3000'), 'key'))).toBe(
      'public-key-unsupported',
    );
    expect(refusalCode(() => readEndorsementKey(keyUnder(RSAES_OAEP, '020101'), 'key'))).toMatch(/^der-/);
  });

  it('EK-3: verify no signature: authorities are read by the ordinary reader alone', () => {
    expect(refusalCode(() => readSubjectPublicKeyInfo(keyUnder(RSAES_OAEP, '3000'), 'key'))).toBe(
      'public-key-unsupported',
    );
  });

  it('EV-5: any changed byte gives a key or a refusal', () => {
    const bytes = keyUnder(RSAES_OAEP, '3000');
    fc.assert(
      fc.property(fc.nat(bytes.length - 1), fc.integer({ min: 1, max: 255 }), (at, mask) => {
        const changed = bytes.map((byte, i) => (i === at ? byte ^ mask : byte));
        try {
          expect(['rsa', 'ec']).toContain(readEndorsementKey(changed, 'key').type);
        } catch (error) {
          expect(isRefusal(error)).toBe(true);
        }
      }),
    );
  });
});
