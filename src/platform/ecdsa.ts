/** ECDSA keys as OpenSSF Model Signing uses them: on the curves of NIST, each with the hash of its strength. */

import { createHash } from 'node:crypto';

import { toHex } from '../../attestation/core/bytes.ts';
import { readPem, writePem } from '../../attestation/core/pem.ts';
import {
  readSubjectPublicKeyInfo,
  type CurveName,
  type EcPublicKey,
} from '../../attestation/core/public-key.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { HashName } from '../../attestation/core/signature.ts';

export const ecdsaRefusals = defineRefusals('usage', {
  'ecdsa-key-unsupported': {
    means: 'A key for model signatures is of another kind than their verifiers take.',
    hint: 'Make one: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes-256-cbc -out FILE`.',
  },
});

export const CURVE_HASHES: Readonly<Record<CurveName, HashName>> = {
  'P-256': 'SHA-256',
  'P-384': 'SHA-384',
  'P-521': 'SHA-512',
};

export interface EcdsaPublicKey {
  readonly key: EcPublicKey;
  /** SHA-256 of its PEM, lower-case hex: how a model signature names its key. */
  readonly hint: string;
}

/** Whoever holds a private key. */
export interface EcdsaSigner {
  readonly publicKey: EcdsaPublicKey;
  /** @returns the signature in DER, with the hash of the key's curve */
  sign(message: Uint8Array): Promise<Uint8Array>;
}

/**
 * @param spki SubjectPublicKeyInfo in DER
 * @throws RefusalError `ecdsa-key-unsupported`, `der-*`, `public-key-*`
 */
export function ecdsaPublicKey(spki: Uint8Array, field: string): EcdsaPublicKey {
  const key = readSubjectPublicKeyInfo(spki, field);
  if (key.type !== 'ec') {
    throw ecdsaRefusals.error('ecdsa-key-unsupported', {
      field,
      expected: 'an EC key on P-256, P-384 or P-521',
      found: key.type,
    });
  }
  const pem = writePem(spki, 'PUBLIC KEY');
  return { key, hint: toHex(createHash('sha256').update(pem).digest()) };
}

/** @throws RefusalError `pem-malformed`, and those of `ecdsaPublicKey` */
export function readEcdsaPublicKey(pem: Uint8Array, field: string): EcdsaPublicKey {
  return ecdsaPublicKey(readPem(pem, 'PUBLIC KEY', field), field);
}
