/** How opening sealed data fails, apart from what the TPM's response code says. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const tpmSealingRefusals = defineRefusals('inauthentic', {
  'tpm-sealed-other': {
    means: 'The TPM does not take a sealed object as one of its own.',
    hint: 'The object was damaged, or sealed by another TPM or before this one was cleared. Restore it from a backup.',
  },
});
