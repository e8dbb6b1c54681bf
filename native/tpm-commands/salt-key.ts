/**
 * Keys to which the salt of a session is encrypted. Whoever sits between this program and the TPM could answer with a
 * key of its own, so a salt key is made of a public key that is known from elsewhere: out of a verified certificate,
 * or by a Name that was kept. What the TPM says of the key is not used.
 */

import { p256, p384, p521 } from '@noble/curves/nist.js';

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { publicKeyOf } from '../../attestation/tpm/attestation-key.ts';
import {
  type EndorsementPublicArea,
  type SharedSeed,
  shareSeedByEcdh,
  shareSeedByRsa,
} from '../../attestation/tpm/credential.ts';
import { tpmHash } from '../../attestation/tpm/hash.ts';
import { Algorithm, type PublicArea } from '../../attestation/tpm/layout.ts';
import { computeName } from '../../attestation/tpm/name.ts';
import { tpmSessionRefusals } from './refusals.ts';

/** Part 1, annexes B.10.2 and C.6.1: what the salt of a session is encrypted for. */
const SALT_LABEL = 'SECRET';

const CURVES = { 'P-256': p256, 'P-384': p384, 'P-521': p521 } as const;

/** A key in the TPM whose public area was authenticated. */
export class SaltKey {
  /** Where the TPM has the key loaded. A wrong handle only makes the session fail. */
  readonly handle: number;
  private readonly publicArea: EndorsementPublicArea;

  private constructor(handle: number, publicArea: EndorsementPublicArea) {
    this.handle = handle;
    this.publicArea = publicArea;
  }

  /** @param publicArea rebuilt from a certificate that was verified, never received from the TPM */
  static ofVerifiedArea(handle: number, publicArea: EndorsementPublicArea): SaltKey {
    return new SaltKey(handle, publicArea);
  }

  /**
   * @param publicArea as the TPM says
   * @param name that this program kept from when the key was made
   * @throws RefusalError `tpm-session-key`, `tpm-hash`
   */
  static ofKeptName(handle: number, publicArea: PublicArea, name: Uint8Array): SaltKey {
    const found = computeName(publicArea);
    if (!equalBytes(found, name)) throw refuse(`the Name ${toHex(name)}`, toHex(found));
    if (publicArea.type === Algorithm.keyedHash) throw refuse('an RSA or ECC key', 'a keyed hash');
    return new SaltKey(handle, publicArea);
  }

  /** A fresh salt, and its encryption to this key. @throws RefusalError `public-key-*`, `tpm-hash` */
  shareSalt(): Promise<SharedSeed> {
    const hash = tpmHash(this.publicArea.nameAlgorithm, 'saltKey.nameAlgorithm');
    const key = publicKeyOf(this.publicArea);
    if (key.type === 'rsa') {
      return shareSeedByRsa(key, hash, SALT_LABEL, crypto.getRandomValues(new Uint8Array(hash.bytes)));
    }
    const ephemeral = CURVES[key.curve].utils.randomSecretKey();
    return Promise.resolve(shareSeedByEcdh(key, hash, SALT_LABEL, ephemeral));
  }
}

function refuse(expected: string, found: string): Error {
  return tpmSessionRefusals.error('tpm-session-key', { field: 'saltKey', expected, found });
}
