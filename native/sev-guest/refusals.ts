/** Every way in which a guest can fail to obtain an attestation report of SEV-SNP. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const sevGuestAddressRefusals = defineRefusals('usage', {
  'sev-guest-address': {
    means: 'The text that says where the SEV guest interface is cannot be read.',
    hint: 'Write auto, configfs:/sys/kernel/config/tsm/report, device:/dev/sev-guest or simulated:FOLDER.',
  },
});

export const sevGuestMachineRefusals = defineRefusals('environment', {
  'sev-guest-missing': {
    means: 'This machine has no interface to the firmware of SEV-SNP.',
    hint: 'Run inside an SEV-SNP guest with the sev-guest driver (modprobe sev-guest) and configfs mounted.',
  },
  'sev-guest-not-permitted': {
    means: 'This user may not ask for attestation reports.',
    hint: 'Run as root, or give the user access to /dev/sev-guest; configfs is open to root alone.',
  },
  'sev-guest-other-provider': {
    means: 'The report interface of this kernel belongs to another kind of confidential guest.',
    hint: 'Use a machine of a device class that the release policy allows.',
  },
  'sev-guest-refused': {
    means: 'The driver, the host or the firmware refused to make a report.',
    hint: 'The number is that of AMD 56860 (firmware) or of the GHCB specification (host); look into dmesg.',
  },
});

export const sevGuestStateRefusals = defineRefusals('unavailable', {
  'sev-guest-busy': {
    means: 'The interface stayed busy, or others used it at the same time again and again.',
    hint: 'The host limits how often a guest may ask: stop other programs that ask for reports, and try again.',
  },
});

export const sevGuestContentRefusals = defineRefusals('malformed', {
  'sev-guest-answer': {
    means: 'What the interface gave is not a report with its certificates.',
    hint: 'The driver or the host may be of an unknown version; compare with the kernel’s documentation.',
  },
});
