import { beforeAll, describe, expect, it } from 'vitest';

import { contentOf, contextTag, DerReader, readElement, Tag } from '../../../../attestation/core/der.ts';
import { readCertificate, type Certificate } from '../../../../attestation/core/x509.ts';
import {
  certificateIdOf,
  equalCertificateIds,
  readCertificateId,
} from '../../../../attestation/nvidia-gpu/ocsp/certificate-id.ts';
import { encodeDer } from '../../../../attestation/nvidia-gpu/ocsp/der-encoding.ts';
import { writeOcspRequest } from '../../../../attestation/nvidia-gpu/ocsp/request.ts';
import { SimulatedNvidia } from '../../../../src/agent/simulated/nvidia-authority.ts';
import { refusalCode } from '../../../support/refusal-code.ts';

let certificate: Certificate;
let issuer: Certificate;

beforeAll(async () => {
  const nvidia = await SimulatedNvidia.create(Date.parse('2026-11-21T12:00:00Z') / 1000);
  const [first, second] = nvidia
    .issuersOf('GH100')
    .map((key) => readCertificate(key.certificate, 'certificate'));
  if (first === undefined || second === undefined) throw new Error('no issuers');
  [certificate, issuer] = [first, second];
});

describe('a question to a responder', () => {
  it('NO-15: asks about one certificate, with a nonce', () => {
    const nonce = Uint8Array.from({ length: 32 }, (_, i) => i);
    const bytes = writeOcspRequest(certificate, issuer, nonce);
    const tbs = contentOf(readElement(bytes, Tag.sequence, 'request')).next(Tag.sequence, 'tbsRequest');
    const reader = contentOf(tbs);
    const list = contentOf(reader.next(Tag.sequence, 'requestList'));
    const request = contentOf(list.next(Tag.sequence, 'request'));
    const id = readCertificateId(request.next(Tag.sequence, 'certID'));
    request.end();
    list.end();
    expect(equalCertificateIds(id, certificateIdOf(certificate, issuer))).toBe(true);
    expect(id.serialNumber).toEqual(certificate.serialNumber);
    const extensions = contentOf(reader.next(contextTag(2, 'constructed'), 'requestExtensions'));
    reader.end();
    const extension = contentOf(
      contentOf(extensions.next(Tag.sequence, 'list')).next(Tag.sequence, 'extension'),
    );
    const identifier = extension.next(Tag.objectIdentifier, 'identifier').content;
    expect(Buffer.from(identifier).toString('hex')).toBe('2b0601050507300102');
    const value = extension.next(Tag.octetString, 'value').content;
    expect(new DerReader(value, 'nonce').next(Tag.octetString, 'nonce').content).toEqual(nonce);
  });

  it('NO-15: takes nonces of 1 to 128 bytes', () => {
    const codeOf = (length: number): string =>
      refusalCode(() => writeOcspRequest(certificate, issuer, new Uint8Array(length)));
    expect([0, 1, 128, 129].map(codeOf)).toEqual(['ocsp-size', 'accepted', 'accepted', 'ocsp-size']);
  });

  it('X.690 10.1: lengths stand in their shortest form', () => {
    for (const length of [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff]) {
      const bytes = encodeDer(Tag.octetString, new Uint8Array(length));
      expect(readElement(bytes, Tag.octetString, 'bytes').content).toHaveLength(length);
    }
    expect(() => encodeDer(Tag.octetString, new Uint8Array(0x10000))).toThrow(RangeError);
  });
});
