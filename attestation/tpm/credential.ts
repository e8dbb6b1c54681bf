/**
 * TPM2_MakeCredential without a TPM (Part 1, section 24, and annexes B.10.3 and C.6.3): a secret that only the TPM
 * with a certain endorsement key can open, and only while it has an object with a certain Name loaded. This is what
 * binds an attestation key to a certified TPM.
 *
 * Randomness is an argument, except for the padding of RSA-OAEP, which WebCrypto draws itself.
 */

import { cfb } from '@noble/ciphers/aes.js';
import { p256, p384, p521 } from '@noble/curves/nist.js';
import { hmac } from '@noble/hashes/hmac.js';

import { concatBytes, toUtf8 } from '../core/bytes.ts';
import { encode } from '../core/layout.ts';
import { COORDINATE_BYTES, publicKeyRefusals, uncompressedPoint } from '../core/public-key.ts';
import type { EcPublicKey, RsaPublicKey } from '../core/public-key.ts';
import { defineRefusals } from '../core/refusal.ts';
import { importPublicKey, toBase64Url, unshared } from '../core/signature.ts';
import { publicKeyOf } from './attestation-key.ts';
import { tpmHash } from './hash.ts';
import type { TpmHash } from './hash.ts';
import { kdfA, kdfE } from './kdf.ts';
import { Algorithm, digestSized, eccPoint, identityObject } from './layout.ts';
import type { EccPublicArea, RsaPublicArea } from './layout.ts';

export const credentialRefusals = defineRefusals('usage', {
  'tpm-credential': {
    means: 'A credential cannot be made from these inputs.',
    hint: 'Use an endorsement key with AES-CFB, a credential of at most one digest and fresh randomness.',
  },
});

/** An endorsement key: a restricted decryption key with AES-CFB. */
export type EndorsementPublicArea = RsaPublicArea | EccPublicArea;

/** A secret shared with a TPM: the seed, and what the TPM needs to find it. */
export interface SharedSeed {
  readonly seed: Uint8Array;
  /** Content of TPM2B_ENCRYPTED_SECRET. */
  readonly encryptedSecret: Uint8Array;
}

/** What TPM2_ActivateCredential takes. Both without the size that stands in front of them in the command. */
export interface Credential {
  /** TPMS_ID_OBJECT. */
  readonly credentialBlob: Uint8Array;
  /** Content of TPM2B_ENCRYPTED_SECRET. */
  readonly encryptedSecret: Uint8Array;
}

const CURVES = { 'P-256': p256, 'P-384': p384, 'P-521': p521 } as const;

/** Bytes of randomness that {@link makeCredential} needs for this key. */
export function credentialRandomnessBytes(endorsement: EndorsementPublicArea): number {
  const key = publicKeyOf(endorsement);
  if (key.type === 'rsa') return tpmHash(endorsement.nameAlgorithm, 'ekPublic.nameAlgorithm').bytes;
  return CURVES[key.curve].lengths.seed ?? COORDINATE_BYTES[key.curve];
}

/**
 * Makes a credential.
 *
 * @param endorsement public area of the endorsement key, rebuilt from its verified certificate
 * @param objectName Name of the attestation key, computed, never received
 * @param secret what activation gives back; at most as long as the endorsement key's name digest
 * @param randomness {@link credentialRandomnessBytes} fresh random bytes, used for nothing else
 * @throws RefusalError `tpm-credential`, `tpm-hash`, `public-key-*`
 */
export async function makeCredential(
  endorsement: EndorsementPublicArea,
  objectName: Uint8Array,
  secret: Uint8Array,
  randomness: Uint8Array,
): Promise<Credential> {
  const expected = credentialRandomnessBytes(endorsement);
  if (randomness.length !== expected) {
    throw refuse('randomness', `${expected} bytes`, `${randomness.length} bytes`);
  }
  const key = publicKeyOf(endorsement);
  const hash = tpmHash(endorsement.nameAlgorithm, 'ekPublic.nameAlgorithm');
  const shared =
    key.type === 'rsa'
      ? await shareSeedByRsa(key, hash, 'IDENTITY', randomness)
      : shareSeedByEcdh(key, hash, 'IDENTITY', CURVES[key.curve].utils.randomSecretKey(randomness));
  return {
    credentialBlob: protectCredential(endorsement, shared.seed, objectName, secret),
    encryptedSecret: shared.encryptedSecret,
  };
}

/** Encrypts a seed to an RSA key (annex B.10.3): OAEP with the key's name algorithm and the label with its NUL. */
export async function shareSeedByRsa(
  key: RsaPublicKey,
  hash: TpmHash,
  label: string,
  seed: Uint8Array,
): Promise<SharedSeed> {
  const imported = await importPublicKey(() =>
    crypto.subtle.importKey(
      'jwk',
      { kty: 'RSA', n: toBase64Url(key.modulus), e: 'AQAB' },
      { name: 'RSA-OAEP', hash: hash.name },
      false,
      ['encrypt'],
    ),
  );
  const algorithm = { name: 'RSA-OAEP', label: toUtf8(`${label}\0`) };
  const encryptedSecret = await crypto.subtle.encrypt(algorithm, imported, unshared(seed));
  return { seed, encryptedSecret: new Uint8Array(encryptedSecret) };
}

/**
 * Agrees on a seed with an ECC key (annex C.6.3).
 *
 * @throws RefusalError `public-key-invalid` when the point is not on its curve
 */
export function shareSeedByEcdh(
  key: EcPublicKey,
  hash: TpmHash,
  label: string,
  ephemeralSecretKey: Uint8Array,
): SharedSeed {
  const curve = CURVES[key.curve];
  const width = COORDINATE_BYTES[key.curve];
  const ephemeral = curve.getPublicKey(ephemeralSecretKey, false);
  const x = ephemeral.subarray(1, 1 + width);
  const z = sharedX(key, ephemeralSecretKey).subarray(1, 1 + width);
  const point = { x, y: ephemeral.subarray(1 + width) };
  return {
    seed: kdfE(hash, z, label, x, key.x, hash.bytes * 8),
    encryptedSecret: encode(eccPoint, point, 'encryptedSecret'),
  };
}

function sharedX(key: EcPublicKey, secretKey: Uint8Array): Uint8Array {
  try {
    return CURVES[key.curve].getSharedSecret(secretKey, uncompressedPoint(key), false);
  } catch (cause) {
    throw publicKeyRefusals.error(
      'public-key-invalid',
      { field: 'publicKey', expected: `a point on ${key.curve}`, found: 'one that is not' },
      { cause },
    );
  }
}

/**
 * Encrypts and authenticates a credential under a seed (Part 1, section 24.4 and 24.5): TPMS_ID_OBJECT.
 *
 * @throws RefusalError `tpm-credential`
 */
export function protectCredential(
  endorsement: EndorsementPublicArea,
  seed: Uint8Array,
  objectName: Uint8Array,
  secret: Uint8Array,
): Uint8Array {
  const hash = tpmHash(endorsement.nameAlgorithm, 'ekPublic.nameAlgorithm');
  const { symmetric } = endorsement.parameters;
  if (symmetric.algorithm !== Algorithm.aes || symmetric.mode !== Algorithm.cfb) {
    throw refuse('ekPublic.parameters.symmetric', 'AES-CFB', `0x${symmetric.algorithm.toString(16)}`);
  }
  if (secret.length > hash.bytes) {
    throw refuse('credential', `at most ${hash.bytes} bytes`, `${secret.length} bytes`);
  }
  const none = new Uint8Array(0);
  const storageKey = kdfA(hash, seed, 'STORAGE', objectName, none, symmetric.keyBits);
  const encryptedIdentity = cfb(storageKey, new Uint8Array(16)).encrypt(
    encode(digestSized, secret, 'credential'),
  );
  const integrityKey = kdfA(hash, seed, 'INTEGRITY', none, none, hash.bytes * 8);
  const integrityHmac = hmac(hash.digest, integrityKey, concatBytes(encryptedIdentity, objectName));
  return encode(identityObject, { integrityHmac, encryptedIdentity }, 'credentialBlob');
}

function refuse(field: string, expected: string, found: string): Error {
  return credentialRefusals.error('tpm-credential', { field, expected, found });
}
