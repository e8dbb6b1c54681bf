/**
 * What makes a key an attestation key (docs/spec/evidence.md, section 3). Only the TPM's own statements can be
 * signed by such a key. These attributes are worth nothing until credential activation has bound the key's Name to
 * a TPM: anybody can write a public area.
 */

import { COORDINATE_BYTES, rsaPublicKey } from '../core/public-key.ts';
import type { CurveName, EcPublicKey, PublicKey } from '../core/public-key.ts';
import type { RefusalFacts } from '../core/refusal.ts';
import { leftPadded } from '../core/signature.ts';
import type { SignatureScheme } from '../core/signature.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import { tpmHash } from './hash.ts';
import type { TpmHash } from './hash.ts';
import { Algorithm, Curve, ObjectAttribute } from './layout.ts';
import type { EccPublicArea, PublicArea, RsaPublicArea } from './layout.ts';
import { computeName } from './name.ts';

export const attestationKeyChecks = defineChecks('inauthentic', {
  'tpm-ak-type': {
    means: 'The attestation key is not an asymmetric key of an accepted kind.',
    hint: 'Make an ECC P-256 or P-384 key or an RSA key of at least 2048 bits.',
    protects: 'A shared secret or a weak key would let others sign in the TPM’s name.',
  },
  'tpm-ak-attributes': {
    means: 'The attributes of the key are not those of an attestation key.',
    hint: 'Make the key in the TPM with fixedTPM, fixedParent, sensitiveDataOrigin, restricted and sign.',
    protects: 'A key without them signs statements that were forged in software.',
  },
  'tpm-ak-symmetric': {
    means: 'The attestation key has a symmetric algorithm, as only storage keys do.',
    hint: 'Make the key with the symmetric algorithm NULL.',
    protects: 'A key of two uses could be made to answer for the other one.',
  },
  'tpm-ak-scheme': {
    means: 'The attestation key has no fixed signing scheme, or one that is not accepted.',
    hint: 'Make the key with RSASSA, RSAPSS or ECDSA and SHA-256 or better.',
    protects: 'The scheme in the signature is the attacker’s word; only the key’s own scheme counts.',
  },
});

/** What a verifier needs to check the statements of an attestation key. */
export interface SigningKey {
  readonly publicKey: PublicKey;
  readonly scheme: SignatureScheme;
  /** The hash of the scheme: also that of the PCR digest in a quote. */
  readonly hash: TpmHash;
}

export interface AttestationKey extends SigningKey {
  readonly name: Uint8Array;
}

const MUST_BE_SET =
  ObjectAttribute.fixedTPM |
  ObjectAttribute.fixedParent |
  ObjectAttribute.sensitiveDataOrigin |
  ObjectAttribute.restricted |
  ObjectAttribute.sign;

const MUST_BE_CLEAR =
  ObjectAttribute.decrypt |
  ObjectAttribute.encryptedDuplication |
  ObjectAttribute.x509sign |
  ObjectAttribute.stClear;

/**
 * Checks a public area against the rules for attestation keys.
 *
 * @throws RefusalError `tpm-ak-*`, `tpm-hash`, `public-key-*`
 */
export function checkAttestationKey(area: PublicArea, checks: Checklist): AttestationKey {
  checks.demand(attestationKeyChecks, 'tpm-ak-type', area.type !== Algorithm.keyedHash, {
    field: 'akPublic.type',
    expected: 'RSA or ECC',
    found: `0x${area.type.toString(16)}`,
  });
  const attributes = area.objectAttributes;
  const isRestricted = (attributes & MUST_BE_SET) === MUST_BE_SET && (attributes & MUST_BE_CLEAR) === 0;
  checks.demand(attestationKeyChecks, 'tpm-ak-attributes', isRestricted, {
    field: 'akPublic.objectAttributes',
    expected: `bits 0x${MUST_BE_SET.toString(16)} set and 0x${MUST_BE_CLEAR.toString(16)} clear`,
    found: `0x${attributes.toString(16)}`,
  });
  const { algorithm: symmetric } = area.parameters.symmetric;
  checks.demand(attestationKeyChecks, 'tpm-ak-symmetric', symmetric === Algorithm.null, {
    field: 'akPublic.parameters.symmetric',
    expected: 'NULL',
    found: `0x${symmetric.toString(16)}`,
  });
  const key = area.type === Algorithm.rsa ? readRsaKey(area, checks) : readEccKey(area, checks);
  return { ...key, name: computeName(area) };
}

function readRsaKey(area: RsaPublicArea, checks: Checklist): SigningKey {
  const { scheme } = area.parameters;
  const isRsassa = scheme.algorithm === Algorithm.rsassa;
  checks.demand(
    attestationKeyChecks,
    'tpm-ak-scheme',
    scheme.algorithm === Algorithm.rsassa || scheme.algorithm === Algorithm.rsapss,
    schemeFacts('RSASSA or RSAPSS', scheme.algorithm),
  );
  const hash = tpmHash(scheme.hash, 'akPublic.parameters.scheme.hash');
  const algorithm = isRsassa ? 'rsassa-pkcs1' : 'rsa-pss';
  return { publicKey: publicKeyOf(area), scheme: { algorithm, hash: hash.name }, hash };
}

function readEccKey(area: EccPublicArea, checks: Checklist): SigningKey {
  const { scheme, curve } = area.parameters;
  checks.demand(
    attestationKeyChecks,
    'tpm-ak-scheme',
    scheme.algorithm === Algorithm.ecdsa && curve !== Curve.p521,
    schemeFacts('ECDSA on P-256 or P-384', scheme.algorithm),
  );
  const hash = tpmHash(scheme.hash, 'akPublic.parameters.scheme.hash');
  return { publicKey: publicKeyOf(area), scheme: { algorithm: 'ecdsa', hash: hash.name }, hash };
}

function schemeFacts(expected: string, algorithm: number): RefusalFacts {
  return { field: 'akPublic.parameters.scheme', expected, found: `0x${algorithm.toString(16)}` };
}

const CURVE_NAMES: ReadonlyMap<number, CurveName> = new Map([
  [Curve.p256, 'P-256'],
  [Curve.p384, 'P-384'],
  [Curve.p521, 'P-521'],
]);

/** The bare public key of an RSA or ECC object. @throws RefusalError `public-key-*`, `signature-length` */
export function publicKeyOf(area: RsaPublicArea | EccPublicArea): PublicKey {
  if (area.type === Algorithm.rsa) {
    // An exponent of 0 is the TPM's way to write 65537 (Part 2, section 12.2.3.5).
    return rsaPublicKey(area.unique, area.parameters.exponent || 65537, 'publicArea.unique');
  }
  const curve = CURVE_NAMES.get(area.parameters.curve);
  if (curve === undefined) throw new TypeError(`the layout let curve ${area.parameters.curve} through`);
  return eccKey(area, curve);
}

function eccKey(area: EccPublicArea, curve: CurveName): EcPublicKey {
  const width = COORDINATE_BYTES[curve];
  return {
    type: 'ec',
    curve,
    x: leftPadded(area.unique.x, width, 'publicArea.unique.x'),
    y: leftPadded(area.unique.y, width, 'publicArea.unique.y'),
  };
}

/** SHA-256 of the AK Name: what names a TPM in its device value. */
export function attestationKeyIdentity(area: PublicArea): Uint8Array {
  return tpmHash(Algorithm.sha256, 'identity').digest(computeName(area));
}
