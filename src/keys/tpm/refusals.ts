/** How custody by a TPM says no. */

import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const tpmCustodyIntegrityRefusals = defineRefusals('inauthentic', {
  'custody-tpm-other': {
    means: 'The wrapping keys were sealed by another TPM, or before this one was cleared.',
    hint: 'Run on the machine that made the custody. If its TPM was cleared or replaced, restore the keys from a backup.',
  },
  'custody-tpm-damaged': {
    means:
      'A sealed wrapping key is not what this custody made: it was altered, cut, or taken from elsewhere.',
    hint: 'Restore the custody file from a backup.',
  },
  'custody-approval-signature': {
    means: 'An approval is not signed by the key that this custody trusts.',
    hint: 'Have the approval signed with the key whose public half was given when the custody was made.',
  },
});

export const tpmCustodyPolicyRefusals = defineRefusals('unacceptable', {
  'custody-tpm-not-approved': {
    means: 'No approval allows this machine, in the state in which it is, to open the wrapping keys.',
    hint: 'If the change is yours, approve the new PCRs (weightgate custody tpm approve) and install the approval; else find out what was changed.',
  },
  'custody-approval-withdrawn': {
    means: 'An approval is of a version that was withdrawn.',
    hint: 'Sign a new approval with a version that is not below the counter of the TPM.',
  },
  'custody-approval-closing': {
    means: 'An approval leaves out the PCR that closes the custody after it was opened.',
    hint: 'Approve that PCR too, with the value that it has after a start: 64 zeros.',
  },
  'custody-version-far': {
    means: 'The counter of the TPM would be moved by very many steps.',
    hint: 'Number approvals from the counter upwards, by one each.',
  },
});

export const tpmCustodyUsageRefusals = defineRefusals('usage', {
  'custody-approval-other': {
    means: 'An approval belongs to another custody.',
    hint: 'Use the approvals that were signed for this custody; each names it.',
  },
  'custody-approval-key': {
    means: 'A key cannot sign approvals, or is not the one that the custody trusts.',
    hint: 'Use ECDSA on P-256 or P-384 or RSA of 2048 or 3072 bits; the public half is named when the custody is made.',
  },
  'custody-tpm-not-made': {
    means: 'A home is to have a custody by a TPM that was not made yet.',
    hint: 'Make it with weightgate custody tpm create, and install an approval, before it is given to a home.',
  },
  'custody-not-closable': {
    means: 'A custody would be closed until the next start that was made without a PCR for it.',
    hint: 'Make the custody with --closing-pcr; that cannot be changed afterwards.',
  },
  'custody-counter-taken': {
    means: 'The NV index of the counter of versions is in use for something else.',
    hint: 'Name another index of the owner (01800000 to 01bfffff) with --counter-index.',
  },
});
