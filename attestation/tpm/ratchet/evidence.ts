/** The member `ratchet` of a TPM's evidence (docs/spec/lease-clock.md, LC-24). */

import { toBase64, toHex } from '../../core/bytes.ts';
import type { JsonValue } from '../../core/canonical-json.ts';
import { base64Shape, hexShape, objectShape } from '../../core/json-shape.ts';
import { RATCHET_BYTES } from './ratchet-index.ts';

/** What a machine claims of its ratchet. Only the certified value is the TPM's own word. */
export interface PresentedRatchet {
  /** TPMS_ATTEST of TPM2_NV_Certify, exactly the bytes that were signed. */
  readonly attest: Uint8Array;
  /** TPMT_SIGNATURE of the attestation key. */
  readonly signature: Uint8Array;
  /** The value before the last step, 32 bytes. */
  readonly previous: Uint8Array;
  /** The last step, 32 bytes. */
  readonly step: Uint8Array;
}

/** The shape of the member. */
export const ratchetShape = objectShape({
  attest: base64Shape({ maxBytes: 2048 }),
  signature: base64Shape({ maxBytes: 1024 }),
  previous: hexShape({ bytes: [RATCHET_BYTES] }),
  step: hexShape({ bytes: [RATCHET_BYTES] }),
});

/** Writes what {@link ratchetShape} reads. */
export function writeRatchet({ attest, signature, previous, step }: PresentedRatchet): JsonValue {
  return {
    attest: toBase64(attest),
    signature: toBase64(signature),
    previous: toHex(previous),
    step: toHex(step),
  };
}
