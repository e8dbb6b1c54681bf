/** The attestation keys of entries: from a public area, a certificate, a bare key, or a paravisor's report. */

import { z } from 'zod';

import { toHex } from '../../attestation/core/bytes.ts';
import { readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import type { PublicKey } from '../../attestation/core/public-key.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { Checklist } from '../../attestation/core/verdict.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { checkAttestationKey } from '../../attestation/tpm/attestation-key.ts';
import type { SigningKey } from '../../attestation/tpm/attestation-key.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { decodePublicArea } from '../../attestation/tpm/layout.ts';
import { runtimeKeyOf } from './vector-tpm-azure.ts';
import { hashAlgorithm } from './vector-tpm-attest.ts';
import { expectedOf, fileOf, hasFile } from './vector-tpm-case.ts';
import type { TpmCase } from './vector-tpm-case.ts';

/** Undefined where the key's own scheme has a hash that cannot be expressed. @throws other refusals of the key */
export function signingKeyOf(subject: TpmCase): SigningKey | undefined {
  if (!hasFile(subject, 'akPublic')) return keyWithScheme(bareKey(subject), statedScheme(subject));
  const area = decodePublicArea(fileOf(subject, 'akPublic'), 'akPublic');
  try {
    return checkAttestationKey(area, new Checklist());
  } catch (error) {
    if (isRefusal(error) && error.refusal.code === 'tpm-hash') return undefined;
    throw error;
  }
}

/** What the manifest says of a signature. */
interface StatedScheme {
  readonly scheme: string;
  readonly hash: string;
}

const schemeShape = z.looseObject({ scheme: z.string(), hash: z.string() });
const statedShape = z.looseObject({
  signature: schemeShape.optional(),
  byBank: z.record(z.string(), z.looseObject({ signature: schemeShape })).optional(),
});

function statedScheme(subject: TpmCase): StatedScheme {
  const { signature, byBank } = expectedOf(subject, statedShape);
  const [first] = Object.values(byBank ?? {});
  const stated = signature ?? first?.signature;
  if (stated === undefined) throw new Error(`${subject.vector.id} states no signature`);
  return stated;
}

const ALGORITHMS: Readonly<Record<string, SigningKey['scheme']['algorithm']>> = {
  rsassa: 'rsassa-pkcs1',
  rsapss: 'rsa-pss',
  ecdsa: 'ecdsa',
};

/** A key without a public area, with the scheme that its issuer makes keys for. Undefined for SHA-1. */
export function keyWithScheme(publicKey: PublicKey, stated: StatedScheme): SigningKey | undefined {
  const algorithm = ALGORITHMS[stated.scheme];
  if (algorithm === undefined) throw new Error(`no scheme is called ${stated.scheme}`);
  if (stated.hash === 'sha1') return undefined;
  const hash = tpmHash(hashAlgorithm(stated.hash), 'key');
  return { publicKey, scheme: { algorithm, hash: hash.name }, hash };
}

function bareKey(subject: TpmCase): PublicKey {
  if (hasFile(subject, 'akSpki')) return readSubjectPublicKeyInfo(fileOf(subject, 'akSpki'), 'akSpki');
  if (hasFile(subject, 'akCert')) return certifiedKey(subject, 'akCert');
  return { type: 'rsa', modulus: runtimeKeyOf(fileOf(subject, 'hclReport')) };
}

export function certifiedKey(subject: TpmCase, name: string): PublicKey {
  return readSubjectPublicKeyInfo(readCertificate(fileOf(subject, name), name).subjectPublicKeyInfo, name);
}

/** Whether nothing but the hash of its scheme speaks against a key. */
export function hasAttributes(subject: TpmCase): boolean {
  const area = decodePublicArea(fileOf(subject, 'akPublic'), 'akPublic');
  try {
    checkAttestationKey(area, new Checklist());
    return true;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return error.refusal.code === 'tpm-hash';
  }
}

export function keyText(key: PublicKey): string {
  return key.type === 'rsa' ? toHex(key.modulus) : `${key.curve} ${toHex(key.x)} ${toHex(key.y)}`;
}
