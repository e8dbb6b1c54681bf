/** Which approval fits the state of the machine, and what to tell people when none does (KC-46). */

import { equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import type { RefusalError } from '../../../attestation/core/refusal.ts';
import type { Approval } from './approval.ts';
import { tpmCustodyPolicyRefusals } from './refusals.ts';

/** The state of a machine as its TPM tells it. */
export interface MachineState {
  /** By number; of all PCRs that some approval names. */
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly counter: bigint;
}

type Difference = Approval['pcrs'][number];

function differences({ pcrs }: Approval, state: MachineState): readonly Difference[] {
  return pcrs.filter(({ pcr, value }) => {
    const found = state.pcrs.get(pcr);
    return found === undefined || !equalBytes(found, value);
  });
}

/**
 * The approval of the highest version that fits. The TPM judges again; this only chooses what to show it.
 *
 * @param field where the approvals are, for refusals
 * @throws RefusalError `custody-tpm-not-approved`, `custody-approval-withdrawn`
 */
export function chooseApproval(approvals: readonly Approval[], state: MachineState, field: string): Approval {
  const byVersion = approvals.toSorted((left, right) => right.approvalVersion - left.approvalVersion);
  const [fitting] = byVersion.filter((approval) => differences(approval, state).length === 0);
  if (fitting === undefined) throw notApproved(byVersion, state, field);
  if (BigInt(fitting.approvalVersion) >= state.counter) return fitting;
  throw tpmCustodyPolicyRefusals.error('custody-approval-withdrawn', {
    field,
    expected: `an approval of version ${state.counter} or above (KC-43)`,
    found: `version ${fitting.approvalVersion}`,
  });
}

function notApproved(approvals: readonly Approval[], state: MachineState, field: string): RefusalError {
  const [nearest] = approvals
    .map((approval) => differences(approval, state))
    .toSorted((left, right) => left.length - right.length);
  if (nearest === undefined) {
    const facts = { field, expected: 'an approval of this machine (KC-46)', found: 'none' };
    return tpmCustodyPolicyRefusals.error('custody-tpm-not-approved', facts);
  }
  const show = (pcr: number, value: Uint8Array | undefined): string =>
    `PCR ${pcr} ${value === undefined ? 'unknown' : toHex(value)}`;
  return tpmCustodyPolicyRefusals.error('custody-tpm-not-approved', {
    field,
    expected: nearest.map(({ pcr, value }) => show(pcr, value)).join(', '),
    found: nearest.map(({ pcr }) => show(pcr, state.pcrs.get(pcr))).join(', '),
  });
}
