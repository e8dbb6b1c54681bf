/** Vectors of the kind `ekcert`: certificates of endorsement keys, and some that only look like one. */

import { z } from 'zod';

import { contentOf, objectIdentifierOf, readElement, Tag } from '../../attestation/core/der.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import type { Certificate } from '../../attestation/core/x509.ts';
import { verifyEndorsementCertificate } from '../../attestation/tpm/endorsement-certificate.ts';
import { readEndorsementKey } from '../../attestation/tpm/endorsement-key.ts';
import { readStoredCertificate } from '../../attestation/tpm/stored-certificate.ts';
import {
  certificateMembers,
  chainOf,
  chainVerifies,
  nameText,
  timeOfChain,
} from './vector-tpm-certificate.ts';
import { expectedOf, fileOf, REMARK, refusalsOf, Unjudged } from './vector-tpm-case.ts';
import type { KindJudge, Members, TpmCase } from './vector-tpm-case.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

/** @throws RefusalError `der-*`, `layout-*`, `certificate-*` */
function certificateOf(subject: TpmCase): Certificate {
  return readCertificate(readStoredCertificate(fileOf(subject, 'cert'), 'cert').encoded, 'cert');
}

function askEndorsement(subject: TpmCase): Promise<readonly string[]> {
  return refusalsOf(() => {
    const chain = chainOf(subject);
    return verifyEndorsementCertificate(fileOf(subject, 'cert'), {
      intermediates: chain.slice(0, -1),
      anchors: chain.slice(-1).map((certificate) => ({ name: 'maker', certificate, simulated: false })),
      time: timeOfChain(certificateOf(subject), chain),
      validity: 'enforce',
    });
  });
}

const statedShape = z.looseObject({
  san: z.record(z.string(), z.unknown()).nullable(),
  eku: z.array(z.string()).nullable(),
  keyUsageDer: z.string().nullable(),
  chainVerifiesToSelfSigned: z.boolean(),
  subjectDirectoryAttributes: z.string().nullable(),
});

const ENDORSEMENT = '2.23.133.8.1';
/** "2.0" as a UTF8String. */
const FAMILY_2 = '0c03322e30';
/** Byte of the bits, whose last may be followed by others: digitalSignature, keyEncipherment, keyAgreement. */
const SIGNS = 0x80;
const ENCRYPTS_OR_AGREES = 0x28;

/** What of the manifest's own facts speaks against the certificate; the manifest leaves the verdict on some open. */
function objections(subject: TpmCase): readonly string[] {
  const stated = expectedOf(subject, statedShape);
  const usage = Number.parseInt(stated.keyUsageDer?.slice(6, 8) ?? '0', 16);
  const found: readonly (readonly [boolean, string])[] = [
    [stated.chainVerifiesToSelfSigned, 'no chain'],
    [stated.san !== null, 'no name of the TPM'],
    [stated.eku?.includes(ENDORSEMENT) === true, 'another purpose'],
    [(usage & ENCRYPTS_OR_AGREES) !== 0 && (usage & SIGNS) === 0, 'another use of the key'],
    [stated.subjectDirectoryAttributes?.includes(FAMILY_2) === true, 'another family'],
  ];
  return found.filter(([holds]) => !holds).map(([, objection]) => objection);
}

export const endorsementJudge: KindJudge = {
  expectation: (subject) =>
    subject.vector.verdict === 'edge' && objections(subject).length > 0 ? 'refused' : undefined,
  async outcomes(subject) {
    const codes = await askEndorsement(subject);
    const against = objections(subject);
    const explanation = against.length > 0 ? `the manifest's own facts: ${against.join(', ')}` : undefined;
    return [{ label: '', codes, explanation: codes.length > 0 ? explanation : undefined }];
  },
  async members(subject) {
    const whole = fileOf(subject, 'cert');
    const { encoded, padding } = readStoredCertificate(whole, 'cert');
    return {
      ...(await factsOrReason(subject)),
      derLength: encoded.length,
      leadingHeaderBytes: whole.length - encoded.length - padding.length,
      trailingBytes: padding.length,
    };
  },
};

/** A certificate that is signed with SHA-1 is not read at all. */
async function factsOrReason(subject: TpmCase): Promise<Members> {
  const codes = await refusalsOf(() => certificateOf(subject));
  if (codes.length === 0) return certificateFacts(subject, certificateOf(subject));
  const reason = codes.join() === 'certificate-algorithm' ? SHA1_REASON : codes.join();
  const names = Object.keys(subject.vector.expected);
  return Object.fromEntries(names.map((name) => [name, new Unjudged(reason)]));
}

async function certificateFacts(subject: TpmCase, certificate: Certificate): Promise<Members> {
  const chain = chainOf(subject);
  return {
    ...certificateMembers(certificate),
    ...keyMembers(certificate),
    chain: chain.map((bytes, i) => nameText(subjectOf(bytes, i))),
    chainVerifiesToSelfSigned: await chainVerifies(certificate, chain),
  };
}

function subjectOf(bytes: Uint8Array, index: number): Uint8Array {
  return readCertificate(bytes, `ca${index}`).subject;
}

const RSA_ENCRYPTION = '1.2.840.113549.1.1.1';
const EC_PUBLIC_KEY = '1.2.840.10045.2.1';
const CURVES = { 'P-256': 'prime256v1', 'P-384': 'secp384r1', 'P-521': 'secp521r1' } as const;

function keyMembers({ subjectPublicKeyInfo }: Certificate): Members {
  const info = contentOf(readElement(subjectPublicKeyInfo, Tag.sequence, 'key'));
  const algorithm = contentOf(info.next(Tag.sequence, 'algorithm'));
  const identifier = objectIdentifierOf(algorithm.next(Tag.objectIdentifier, 'identifier'));
  const key = readEndorsementKey(subjectPublicKeyInfo, 'key');
  const isOrdinary = identifier === RSA_ENCRYPTION || identifier === EC_PUBLIC_KEY;
  const read =
    key.type === 'rsa'
      ? { type: 'rsa', modulusLength: key.modulus.length * 8, publicExponent: 65537 }
      : { type: 'ec', namedCurve: CURVES[key.curve] };
  // Of a key that another program could not decode the manifest says nothing.
  return {
    spkiAlgorithm: identifier,
    nodePublicKeyDecodes: REMARK,
    nodeError: REMARK,
    key: isOrdinary ? read : REMARK,
  };
}
