/**
 * Templates from which the TPM makes its keys. A primary key follows from the TPM's seed and every bit of the
 * template, so these must never change: another template is another key, without any error.
 */

import { fromHex } from '../../../attestation/core/bytes.ts';
import { Algorithm, Curve, ObjectAttribute, type PublicArea } from '../../../attestation/tpm/layout.ts';

/** The default endorsement keys of TCG "EK Credential Profile for TPM Family 2.0", by the names used there. */
export type EndorsementTemplateName = 'L-1' | 'L-2' | 'H-1' | 'H-2' | 'H-3' | 'H-4' | 'H-6' | 'H-7';

export interface EndorsementTemplate {
  readonly name: EndorsementTemplateName;
  /** NV index of the key's certificate. */
  readonly certificateIndex: number;
  readonly publicArea: PublicArea;
}

/** Which kind of attestation key to make: ECDSA on P-256 or RSASSA with 2048 bits, both with SHA-256. */
export type AttestationKeyAlgorithm = 'ecc' | 'rsa';

const none = { algorithm: Algorithm.null } as const;
const aes = (keyBits: 128 | 256) => ({ algorithm: Algorithm.aes, keyBits, mode: Algorithm.cfb }) as const;

const STORAGE_KEY =
  ObjectAttribute.fixedTPM |
  ObjectAttribute.fixedParent |
  ObjectAttribute.sensitiveDataOrigin |
  ObjectAttribute.adminWithPolicy |
  ObjectAttribute.restricted |
  ObjectAttribute.decrypt;
const LOW_RANGE = { nameAlgorithm: Algorithm.sha256, objectAttributes: STORAGE_KEY } as const;
const HIGH_RANGE = { objectAttributes: STORAGE_KEY | ObjectAttribute.userWithAuth } as const;

/** PolicySecret(endorsement hierarchy). */
const POLICY_A = fromHex('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa', 'policy');

/** PolicyA or PolicyAuthorizeNV of the profile's index, for each name algorithm. */
const POLICY_B = {
  sha256: fromHex('ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0', 'policy'),
  sha384: fromHex(
    'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
    'policy',
  ),
  sha512: fromHex(
    'b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a4' +
      '29c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea',
    'policy',
  ),
};

const EMPTY = new Uint8Array(0);
const noPoint = { x: EMPTY, y: EMPTY };

function rsaParameters(keyBits: number, symmetricBits: 128 | 256) {
  return { symmetric: aes(symmetricBits), scheme: none, keyBits, exponent: 0 };
}

function eccParameters(curve: number, symmetricBits: 128 | 256) {
  return { symmetric: aes(symmetricBits), scheme: none, curve, kdf: none };
}

const HIGH_SHA256 = { ...HIGH_RANGE, nameAlgorithm: Algorithm.sha256, authPolicy: POLICY_B.sha256 } as const;
const HIGH_SHA384 = { ...HIGH_RANGE, nameAlgorithm: Algorithm.sha384, authPolicy: POLICY_B.sha384 } as const;
const HIGH_SHA512 = { ...HIGH_RANGE, nameAlgorithm: Algorithm.sha512, authPolicy: POLICY_B.sha512 } as const;
const rsa = { type: Algorithm.rsa } as const;
const ecc = { type: Algorithm.ecc } as const;

/** In the order in which the agent looks for a certificate. */
export const ENDORSEMENT_TEMPLATES: readonly EndorsementTemplate[] = [
  {
    name: 'L-1',
    certificateIndex: 0x01c00002,
    publicArea: {
      ...rsa,
      ...LOW_RANGE,
      authPolicy: POLICY_A,
      parameters: rsaParameters(2048, 128),
      // The low range fixes the length of `unique` and fills it with zeros; the high range leaves it empty.
      unique: new Uint8Array(256),
    },
  },
  {
    name: 'L-2',
    certificateIndex: 0x01c0000a,
    publicArea: {
      ...ecc,
      ...LOW_RANGE,
      authPolicy: POLICY_A,
      parameters: eccParameters(Curve.p256, 128),
      unique: { x: new Uint8Array(32), y: new Uint8Array(32) },
    },
  },
  {
    name: 'H-1',
    certificateIndex: 0x01c00012,
    publicArea: { ...rsa, ...HIGH_SHA256, parameters: rsaParameters(2048, 128), unique: EMPTY },
  },
  {
    name: 'H-2',
    certificateIndex: 0x01c00014,
    publicArea: { ...ecc, ...HIGH_SHA256, parameters: eccParameters(Curve.p256, 128), unique: noPoint },
  },
  {
    name: 'H-3',
    certificateIndex: 0x01c00016,
    publicArea: { ...ecc, ...HIGH_SHA384, parameters: eccParameters(Curve.p384, 256), unique: noPoint },
  },
  {
    name: 'H-4',
    certificateIndex: 0x01c00018,
    publicArea: { ...ecc, ...HIGH_SHA512, parameters: eccParameters(Curve.p521, 256), unique: noPoint },
  },
  {
    name: 'H-6',
    certificateIndex: 0x01c0001c,
    publicArea: { ...rsa, ...HIGH_SHA384, parameters: rsaParameters(3072, 256), unique: EMPTY },
  },
  {
    name: 'H-7',
    certificateIndex: 0x01c0001e,
    publicArea: { ...rsa, ...HIGH_SHA384, parameters: rsaParameters(4096, 256), unique: EMPTY },
  },
];

/** A restricted signing key: it signs nothing that looks like a TPM's own statement and is not one. */
const ATTESTATION_KEY = {
  nameAlgorithm: Algorithm.sha256,
  objectAttributes:
    ObjectAttribute.fixedTPM |
    ObjectAttribute.fixedParent |
    ObjectAttribute.sensitiveDataOrigin |
    ObjectAttribute.userWithAuth |
    ObjectAttribute.restricted |
    ObjectAttribute.sign,
  authPolicy: EMPTY,
} as const;

export const ATTESTATION_KEY_TEMPLATES: Readonly<Record<AttestationKeyAlgorithm, PublicArea>> = {
  ecc: {
    ...ecc,
    ...ATTESTATION_KEY,
    parameters: {
      symmetric: none,
      scheme: { algorithm: Algorithm.ecdsa, hash: Algorithm.sha256 },
      curve: Curve.p256,
      kdf: none,
    },
    unique: noPoint,
  },
  rsa: {
    ...rsa,
    ...ATTESTATION_KEY,
    parameters: {
      symmetric: none,
      scheme: { algorithm: Algorithm.rsassa, hash: Algorithm.sha256 },
      keyBits: 2048,
      exponent: 0,
    },
    unique: EMPTY,
  },
};
