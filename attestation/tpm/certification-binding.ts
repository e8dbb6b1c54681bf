/** What a certification is bound to (docs/spec/tpm-identity.md, EK-14). */

import { sha256 } from '@noble/hashes/sha2.js';

import { paddedLabel } from '../core/binding.ts';
import { toUtf8 } from '../core/bytes.ts';
import { constantBytes, encode, fixedBytes, structure } from '../core/layout.ts';

const LABEL = paddedLabel('weightgate/certify/v1');

const bindingLayout = structure({
  label: constantBytes(LABEL),
  nonce: fixedBytes(32),
  labDigest: fixedBytes(32),
  logOriginDigest: fixedBytes(32),
  certifyingKeyDigest: fixedBytes(32),
  attestationKeyDigest: fixedBytes(32),
});

/** Everything that one certification is good for. */
export interface CertificationInputs {
  /** The server's nonce, 32 bytes. */
  readonly nonce: Uint8Array;
  readonly lab: string;
  /** Origin of the server's log. */
  readonly logOrigin: string;
  /** Name of the key that certifies. */
  readonly certifyingKeyName: Uint8Array;
  /** Name of the key that is certified. */
  readonly attestationKeyName: Uint8Array;
}

/** The extraData of a certification, 32 bytes. @throws RefusalError `layout-value` for a nonce of another length */
export function computeCertificationBinding(inputs: CertificationInputs): Uint8Array {
  const members = {
    label: LABEL,
    nonce: inputs.nonce,
    labDigest: sha256(toUtf8(inputs.lab)),
    logOriginDigest: sha256(toUtf8(inputs.logOrigin)),
    certifyingKeyDigest: sha256(inputs.certifyingKeyName),
    attestationKeyDigest: sha256(inputs.attestationKeyName),
  };
  return sha256(encode(bindingLayout, members, 'binding'));
}
