/** Under which policies a TPM opens wrapping keys (docs/spec/key-custody.md KC-41 to KC-43). Pure: also run by who approves. */

import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { bigEndian, encode } from '../../../attestation/core/layout.ts';
import { tpmHash } from '../../../attestation/tpm/hash.ts';
import { Algorithm, type PublicArea } from '../../../attestation/tpm/layout.ts';
import { computeName } from '../../../attestation/tpm/name.ts';
import { computeNvName, NvIndexAttribute, type NvPublicArea } from '../../../attestation/tpm/nv-index.ts';
import {
  Comparison,
  emptyPolicy,
  policyAuthorizedBy,
  policyWithNv,
  policyWithPcrs,
} from '../../../attestation/tpm/policy-digest.ts';
import type { Mode } from '../../governance/fields.ts';

/** The hash of every policy, and the bank of every PCR that is named in one. */
export const POLICY_HASH = tpmHash(Algorithm.sha256, 'policy.hash');

const COUNTER_BYTES = 8;

/** Which custody: an approval is good for one. */
export interface CustodyIdentity {
  /** 32 random bytes in lower-case hexadecimal. */
  readonly custody: string;
  readonly origin: string;
  readonly mode: Mode;
}

/** Values in lower-case hexadecimal, by PCR in ascending order. */
export type ApprovedPcrs = readonly { readonly pcr: number; readonly value: Uint8Array }[];

/** The policyRef of TPM2_PolicyAuthorize: what the signer approves the state of a machine for. */
export function policyReference({ custody, origin, mode }: CustodyIdentity): Uint8Array {
  return POLICY_HASH.digest(
    encodeCanonicalJson({ purpose: 'weightgate/custody-approval/v1', custody, origin, mode }),
  );
}

/** The authPolicy of every sealed wrapping key: whatever the signer approves for this custody. */
export function sealingPolicy(identity: CustodyIdentity, signer: PublicArea): Uint8Array {
  return policyAuthorizedBy(POLICY_HASH, computeName(signer), policyReference(identity));
}

/** The counter of versions as it is defined: it can be incremented by the owner and read by everybody. */
export function counterArea(index: number): NvPublicArea {
  return {
    index,
    nameAlgorithm: Algorithm.sha256,
    attributes:
      NvIndexAttribute.ownerWrite |
      NvIndexAttribute.counter |
      NvIndexAttribute.authRead |
      NvIndexAttribute.noDA,
    authPolicy: new Uint8Array(0),
    dataBytes: COUNTER_BYTES,
  };
}

/** The same after its first increment: what has to be there when a key is opened. */
export function writtenCounterArea(index: number): NvPublicArea {
  const area = counterArea(index);
  return { ...area, attributes: area.attributes | NvIndexAttribute.written };
}

/** The version of an approval as the operand that is compared with the counter. */
export function versionOperand(version: number): Uint8Array {
  return encode(bigEndian.u64(), BigInt(version), 'version');
}

/** The policy that an approval approves: these PCRs, while the counter is not above the version. */
export function approvedPolicy(pcrs: ApprovedPcrs, counterIndex: number, version: number): Uint8Array {
  const selection = { bank: POLICY_HASH, pcrs: pcrs.map(({ pcr }) => pcr) };
  const values = pcrs.map(({ value }) => value);
  const withPcrs = policyWithPcrs(POLICY_HASH, emptyPolicy(POLICY_HASH), selection, values);
  return policyWithNv(POLICY_HASH, withPcrs, {
    indexName: computeNvName(writtenCounterArea(counterIndex)),
    operand: versionOperand(version),
    offset: 0,
    operation: Comparison.unsignedAtMost,
  });
}
