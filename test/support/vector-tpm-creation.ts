/** Vectors of the kind `creation`: what a key says of its own birth (TPM2_CertifyCreation). */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { decode, encode } from '../../attestation/core/layout.ts';
import { verifySignature } from '../../attestation/core/signature.ts';
import { Checklist } from '../../attestation/core/verdict.ts';
import { checkAttestationKey, publicKeyOf } from '../../attestation/tpm/attestation-key.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import {
  Algorithm,
  attest,
  AttestType,
  creationData,
  decodePublicArea,
  signature,
} from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import { areaMembers, attestMembers, signatureMembers } from './vector-tpm-attest.ts';
import { fileOf, refusalsOf } from './vector-tpm-case.ts';
import type { KindJudge, Members, TpmCase } from './vector-tpm-case.ts';
import { hasAttributes, signingKeyOf } from './vector-tpm-keys.ts';
import { signatureValid } from './vector-tpm-quote-part.ts';
import { SHA1_REASON } from './vector-tpm-reasons.ts';

/** A statement of its own entry, or one beside a quote. */
export async function creationMembers(subject: TpmCase, part: '' | 'creation'): Promise<Members> {
  const name = (file: string): string =>
    part === '' ? file : `${part}${file[0]?.toUpperCase()}${file.slice(1)}`;
  const bytes = fileOf(subject, name('attest'));
  const key = signingKeyOf(subject);
  const framed = fileOf(subject, name('signature'));
  return {
    attest: attestMembers(bytes),
    ...(part === '' && { signature: signatureMembers(decode(signature, framed, 'signature')) }),
    signatureValid: await signatureValid({ key, signature: framed, attest: bytes }),
    ...objectMembers(subject, bytes),
  };
}

function objectMembers(subject: TpmCase, bytes: Uint8Array): Members {
  const statement = decode(attest, bytes, 'attest');
  if (statement.type !== AttestType.creation) throw new Error('another statement than one about a creation');
  const { objectName, creationHash } = statement.attested;
  const area = decodePublicArea(fileOf(subject, 'akPublic'), 'akPublic');
  const data = fileOf(subject, 'creationData');
  if (!equalBytes(encode(creationData, decode(creationData, data, 'creationData'), 'creationData'), data))
    throw new Error('reading and writing creation data changes it');
  const digest = tpmHash(area.nameAlgorithm, 'nameAlgorithm').digest(data);
  return {
    objectNameIsAkName: toHex(objectName) === toHex(computeName(area)),
    creationHashMatches: equalBytes(creationHash, digest),
  };
}

/** Whether a signature of the other family is refused in words of its own, as the manifest demands of every verifier. */
async function pairingIsRefused(subject: TpmCase): Promise<boolean> {
  const area = decodePublicArea(fileOf(subject, 'akPublic'), 'akPublic');
  if (area.type === Algorithm.keyedHash) throw new Error('no asymmetric key');
  const key = publicKeyOf(area);
  const other = key.type === 'rsa' ? 'ecdsa' : 'rsassa-pkcs1';
  const scheme = { algorithm: other, hash: 'SHA-256' } as const;
  const codes = await refusalsOf(() =>
    verifySignature(key, scheme, new Uint8Array(64), fileOf(subject, 'attest')),
  );
  return codes.join() === 'signature-key-type';
}

const PAIRING = /^pairing this AK with a signature of the other algorithm family must be refused/;

export const creationJudge: KindJudge = {
  async outcomes(subject) {
    const area = decodePublicArea(fileOf(subject, 'akPublic'), 'akPublic');
    const codes = await refusalsOf(() => checkAttestationKey(area, new Checklist()));
    return [{ label: '', codes, explanation: codes.join() === 'tpm-hash' ? SHA1_REASON : undefined }];
  },
  async members(subject) {
    const { negative } = subject.vector.expected;
    const isJudged = typeof negative === 'string' && PAIRING.test(negative);
    return {
      ...(await creationMembers(subject, '')),
      ak: areaMembers(fileOf(subject, 'akPublic')),
      akAcceptableAttributes: hasAttributes(subject),
      negative: isJudged && (await pairingIsRefused(subject)) ? negative : 'accepted, or of no rule',
    };
  },
};
