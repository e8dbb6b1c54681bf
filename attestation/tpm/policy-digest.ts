/**
 * Policy digests as a TPM computes them (TCG "TPM 2.0 Library Specification" Part 1, section 19.7; Part 3, section 23).
 * Whoever approves a state of a machine computes here, away from that machine, what its TPM will have to come to.
 */

import { concatBytes } from '../core/bytes.ts';
import { bigEndian, encode } from '../core/layout.ts';
import type { TpmHash } from './hash.ts';
import { pcrSelectionList } from './layout.ts';
import { type PcrSelection, selectPcrs } from './pcr-selection.ts';

const { u16, u32 } = bigEndian;

/** TPM_CC: the code of the command stands in the digest that the command extends. */
const PolicyCommand = { nv: 0x149, authorize: 0x16a, pcr: 0x17f } as const;

/** TPM_EO (Part 2, section 6.8): how the content of an index compares with the operand. */
export const Comparison = { unsignedAtMost: 0x0008 } as const;

/** A comparison of the content of an NV index with an operand. */
export interface NvComparison {
  /** Name of the index, as it is after its first write. */
  readonly indexName: Uint8Array;
  readonly operand: Uint8Array;
  readonly offset: number;
  readonly operation: number;
}

/** The digest of a session in which nothing was asserted yet. */
export function emptyPolicy(hash: TpmHash): Uint8Array {
  return new Uint8Array(hash.bytes);
}

function extended(hash: TpmHash, policy: Uint8Array, command: number, ...parts: Uint8Array[]): Uint8Array {
  return hash.digest(concatBytes(policy, encode(u32(), command, 'command'), ...parts));
}

/** The digest of PCR values, in the order of the selection. */
export function pcrDigest(hash: TpmHash, values: readonly Uint8Array[]): Uint8Array {
  return hash.digest(concatBytes(...values));
}

/** TPM2_PolicyPCR. @param values of the selected PCRs, in ascending order */
export function policyWithPcrs(
  hash: TpmHash,
  policy: Uint8Array,
  selection: PcrSelection,
  values: readonly Uint8Array[],
): Uint8Array {
  const selected = encode(pcrSelectionList, selectPcrs(selection), 'selection');
  return extended(hash, policy, PolicyCommand.pcr, selected, pcrDigest(hash, values));
}

/** TPM2_PolicyNV. */
export function policyWithNv(hash: TpmHash, policy: Uint8Array, comparison: NvComparison): Uint8Array {
  const { indexName, operand, offset, operation } = comparison;
  const argumentsDigest = hash.digest(
    concatBytes(operand, encode(u16(), offset, 'offset'), encode(u16(), operation, 'operation')),
  );
  return extended(hash, policy, PolicyCommand.nv, argumentsDigest, indexName);
}

/** TPM2_PolicyAuthorize: whatever was asserted before is replaced by who approved it, and what for. */
export function policyAuthorizedBy(hash: TpmHash, signerName: Uint8Array, reference: Uint8Array): Uint8Array {
  const bySigner = extended(hash, emptyPolicy(hash), PolicyCommand.authorize, signerName);
  return hash.digest(concatBytes(bySigner, reference));
}

/** What a signer signs to approve a policy for TPM2_PolicyAuthorize; the signature hashes it with `hash`. */
export function approvalMessage(approvedPolicy: Uint8Array, reference: Uint8Array): Uint8Array {
  return concatBytes(approvedPolicy, reference);
}
