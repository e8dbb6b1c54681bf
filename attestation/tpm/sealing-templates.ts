/**
 * Templates for sealing: the storage root key, sealed data, and the public key that approves policies. Their Names
 * follow from these bytes, so a byte that differs is another key, or a policy that is never met.
 */

import type { PublicKey } from '../core/public-key.ts';
import { Algorithm, Curve, ObjectAttribute } from './layout.ts';
import type { EccPublicArea, PublicArea } from './layout.ts';

const none = new Uint8Array(0);
const nullAlgorithm = { algorithm: Algorithm.null } as const;

/**
 * The storage root key on P-256 of the TCG "TPM v2.0 Provisioning Guidance", section 7.5.1: the same TPM makes the same
 * key until its owner clears it.
 */
export const storageRootKeyTemplate: EccPublicArea = {
  type: Algorithm.ecc,
  nameAlgorithm: Algorithm.sha256,
  objectAttributes:
    ObjectAttribute.fixedTPM |
    ObjectAttribute.fixedParent |
    ObjectAttribute.sensitiveDataOrigin |
    ObjectAttribute.userWithAuth |
    ObjectAttribute.noDA |
    ObjectAttribute.restricted |
    ObjectAttribute.decrypt,
  authPolicy: none,
  parameters: {
    symmetric: { algorithm: Algorithm.aes, keyBits: 128, mode: Algorithm.cfb },
    scheme: nullAlgorithm,
    curve: Curve.p256,
    kdf: nullAlgorithm,
  },
  unique: { x: new Uint8Array(32), y: new Uint8Array(32) },
};

/** What a sealed object may do: it never leaves its TPM, and without userWithAuth no password opens it. */
export const SEALED_ATTRIBUTES =
  ObjectAttribute.fixedTPM |
  ObjectAttribute.fixedParent |
  ObjectAttribute.adminWithPolicy |
  ObjectAttribute.noDA;

/** Sealed data that opens under a policy and in no other way. */
export function sealedDataTemplate(authPolicy: Uint8Array): PublicArea {
  return {
    type: Algorithm.keyedHash,
    nameAlgorithm: Algorithm.sha256,
    objectAttributes: SEALED_ATTRIBUTES,
    authPolicy,
    parameters: nullAlgorithm,
    unique: none,
  };
}

/** A key whose private half is not in the TPM: it signs with SHA-256, by ECDSA or RSASSA. */
export function externalSignerArea(key: PublicKey): PublicArea {
  const head = {
    nameAlgorithm: Algorithm.sha256,
    objectAttributes: ObjectAttribute.userWithAuth | ObjectAttribute.sign,
    authPolicy: none,
  };
  if (key.type === 'ec') {
    const scheme = { algorithm: Algorithm.ecdsa, hash: Algorithm.sha256 } as const;
    const curve = { 'P-256': Curve.p256, 'P-384': Curve.p384, 'P-521': Curve.p521 }[key.curve];
    const parameters = { symmetric: nullAlgorithm, scheme, curve, kdf: nullAlgorithm };
    return { type: Algorithm.ecc, ...head, parameters, unique: { x: key.x, y: key.y } };
  }
  const scheme = { algorithm: Algorithm.rsassa, hash: Algorithm.sha256 } as const;
  const parameters = { symmetric: nullAlgorithm, scheme, keyBits: key.modulus.length * 8, exponent: 0 };
  return { type: Algorithm.rsa, ...head, parameters, unique: key.modulus };
}
