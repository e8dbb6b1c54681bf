/**
 * Templates of the keys that attestation needs: endorsement keys as in TCG "EK Credential Profile for TPM Family 2.0"
 * (annex B), and the attestation keys that our agent makes. From the same template the TPM makes the same
 * endorsement key each time; one differing byte gives another key without any complaint.
 */

import { fromHex } from '../core/bytes.ts';
import type { PublicKey } from '../core/public-key.ts';
import type { EndorsementPublicArea } from './credential.ts';
import { Algorithm, Curve } from './layout.ts';
import type { EccPublicArea, RsaPublicArea } from './layout.ts';

const policy = (hex: string): Uint8Array => fromHex(hex, 'policy');

/** PolicySecret(endorsement hierarchy) under SHA-256: authorises the low-range keys. */
const POLICY_A_SHA256 = policy('837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa');

/** PolicyOR of policy A and PolicyAuthorizeNV of the profile's index: authorises the high-range keys. */
const POLICY_B_SHA256 = policy('ca3d0a99a2b93906f7a3342414efcfb3a385d44cd1fd459089d19b5071c0b7a0');
const POLICY_B_SHA384 = policy(
  'b26e7d28d11a50bc53d882bcf5fd3a1a074148bb35d3b4e4cb1c0ad9bde419cacb47ba09699646150f9fc000f3f80e12',
);
const POLICY_B_SHA512 = policy(
  'b8221ca69e8550a4914de3faa6a18c072cc01208073a928d5d66d59ef79e49a4' +
    '29c41a6b269571d57edb25fbdb1838425608b413cd616a5f6db5b6071af99bea',
);

/** fixedTPM, fixedParent, sensitiveDataOrigin, adminWithPolicy, restricted, decrypt. */
const LOW_RANGE_ATTRIBUTES = 0x000300b2;
/** The same with userWithAuth. */
const HIGH_RANGE_ATTRIBUTES = 0x000300f2;

const aesCfb = (keyBits: number) => ({ algorithm: Algorithm.aes, keyBits, mode: Algorithm.cfb }) as const;
const nullAlgorithm = { algorithm: Algorithm.null } as const;

function rsaTemplate(
  keyBits: number,
  head: Pick<RsaPublicArea, 'nameAlgorithm' | 'objectAttributes' | 'authPolicy'>,
  symmetricBits: number,
  unique: Uint8Array,
): RsaPublicArea {
  const parameters = { symmetric: aesCfb(symmetricBits), scheme: nullAlgorithm, keyBits, exponent: 0 };
  return { type: Algorithm.rsa, ...head, parameters, unique };
}

function eccTemplate(
  curve: number,
  head: Pick<EccPublicArea, 'nameAlgorithm' | 'objectAttributes' | 'authPolicy'>,
  symmetricBits: number,
  unique: Uint8Array,
): EccPublicArea {
  const parameters = { symmetric: aesCfb(symmetricBits), scheme: nullAlgorithm, curve, kdf: nullAlgorithm };
  return { type: Algorithm.ecc, ...head, parameters, unique: { x: unique, y: unique } };
}

const lowRange = {
  nameAlgorithm: Algorithm.sha256,
  objectAttributes: LOW_RANGE_ATTRIBUTES,
  authPolicy: POLICY_A_SHA256,
};
const highRange = {
  objectAttributes: HIGH_RANGE_ATTRIBUTES,
};
const highRangeSha256 = { ...highRange, nameAlgorithm: Algorithm.sha256, authPolicy: POLICY_B_SHA256 };
const highRangeSha384 = { ...highRange, nameAlgorithm: Algorithm.sha384, authPolicy: POLICY_B_SHA384 };
const highRangeSha512 = { ...highRange, nameAlgorithm: Algorithm.sha512, authPolicy: POLICY_B_SHA512 };
const none = new Uint8Array(0);

/** Templates of endorsement keys, by the names of the profile. */
export const endorsementKeyTemplates = {
  'L-1': rsaTemplate(2048, lowRange, 128, new Uint8Array(256)),
  'L-2': eccTemplate(Curve.p256, lowRange, 128, new Uint8Array(32)),
  'H-1': rsaTemplate(2048, highRangeSha256, 128, none),
  'H-2': eccTemplate(Curve.p256, highRangeSha256, 128, none),
  'H-3': eccTemplate(Curve.p384, highRangeSha384, 256, none),
  'H-4': eccTemplate(Curve.p521, highRangeSha512, 256, none),
  'H-6': rsaTemplate(3072, highRangeSha384, 256, none),
  'H-7': rsaTemplate(4096, highRangeSha384, 256, none),
} as const;
export type EndorsementTemplateName = keyof typeof endorsementKeyTemplates;

/** NV indices of the endorsement certificates that belong to the templates (EK Credential Profile, section 2.2.1). */
export const endorsementCertificateIndices: Readonly<Record<EndorsementTemplateName, number>> = {
  'L-1': 0x01c00002,
  'L-2': 0x01c0000a,
  'H-1': 0x01c00012,
  'H-2': 0x01c00014,
  'H-3': 0x01c00016,
  'H-4': 0x01c00018,
  'H-6': 0x01c0001c,
  'H-7': 0x01c0001e,
};

/** The template that a certified key was most likely made from: the low range where there is one. */
export function usualEndorsementTemplate(key: PublicKey): EndorsementTemplateName {
  if (key.type === 'ec') return ({ 'P-256': 'L-2', 'P-384': 'H-3', 'P-521': 'H-4' } as const)[key.curve];
  if (key.modulus.length <= 256) return 'L-1';
  return key.modulus.length <= 384 ? 'H-6' : 'H-7';
}

/** The public area of an endorsement key: the template with the key of a verified certificate in it. */
export function endorsementPublicArea(name: EndorsementTemplateName, key: PublicKey): EndorsementPublicArea {
  const template = endorsementKeyTemplates[name];
  if (template.type === Algorithm.rsa && key.type === 'rsa') return { ...template, unique: key.modulus };
  if (template.type === Algorithm.ecc && key.type === 'ec')
    return { ...template, unique: { x: key.x, y: key.y } };
  throw new TypeError(`template ${name} is not for ${key.type} keys`);
}

/** fixedTPM, fixedParent, sensitiveDataOrigin, userWithAuth, restricted, sign. */
const ATTESTATION_KEY_ATTRIBUTES = 0x00050072;

const attestationKeyHead = {
  nameAlgorithm: Algorithm.sha256,
  objectAttributes: ATTESTATION_KEY_ATTRIBUTES,
  authPolicy: none,
};

/** Templates of the attestation keys that our agent makes in the endorsement hierarchy. */
export const attestationKeyTemplates: {
  readonly 'ecc-p256': EccPublicArea;
  readonly 'rsa-2048': RsaPublicArea;
} = {
  'ecc-p256': {
    type: Algorithm.ecc,
    ...attestationKeyHead,
    parameters: {
      symmetric: nullAlgorithm,
      scheme: { algorithm: Algorithm.ecdsa, hash: Algorithm.sha256 },
      curve: Curve.p256,
      kdf: nullAlgorithm,
    },
    unique: { x: none, y: none },
  },
  'rsa-2048': {
    type: Algorithm.rsa,
    ...attestationKeyHead,
    parameters: {
      symmetric: nullAlgorithm,
      scheme: { algorithm: Algorithm.rsassa, hash: Algorithm.sha256 },
      keyBits: 2048,
      exponent: 0,
    },
    unique: none,
  },
};
