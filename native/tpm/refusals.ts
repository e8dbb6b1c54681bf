/** Every way in which reaching a TPM can fail, apart from what the TPM itself answers. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const tpmAddressRefusals = defineRefusals('usage', {
  'tpm-address-malformed': {
    means: 'The text that says where the TPM is cannot be read.',
    hint: 'Write device:/dev/tpmrm0, swtpm:host=127.0.0.1,port=2321, swtpm:path=SOCKET or tabrmd:.',
  },
});

export const tpmMachineRefusals = defineRefusals('environment', {
  'tpm-library-missing': {
    means: 'The TPM stack of the system, or its part for this kind of address, is not installed.',
    hint: 'Install it: apt-get install libtss2-tctildr0 libtss2-tcti-device0 libtss2-tcti-swtpm0.',
  },
  'tpm-missing': {
    means: 'There is no TPM at the given place.',
    hint: 'Switch the TPM on in the firmware set-up, load its driver, or name another device (ls /dev/tpm*).',
  },
  'tpm-not-permitted': {
    means: 'This user may not open the TPM.',
    hint: 'Add the user to the group that owns the device (usermod -aG tss USER), then log in again.',
  },
});

export const tpmConnectionRefusals = defineRefusals('unavailable', {
  'tpm-unreachable': {
    means: 'Nothing that speaks for a TPM could be opened at the given place.',
    hint: 'Start the simulator or the resource manager, or correct the address.',
  },
  'tpm-busy': {
    means: 'The TPM is there, but another program holds it.',
    hint: 'Stop the other agent, or use the resource manager (device:/dev/tpmrm0) so that both can share it.',
  },
  'tpm-timeout': {
    means: 'The TPM did not answer a command in time.',
    hint: 'Check that the simulator or the machine is not suspended; then start the agent again.',
  },
  'tpm-connection-lost': {
    means: 'The connection to the TPM ended before the answer was complete.',
    hint: 'Check that the simulator, the resource manager or the driver still runs; then start the agent again.',
  },
  'tpm-closed': {
    means: 'A command was sent to a TPM connection that is already closed.',
    hint: 'This is an error of the caller: open the TPM again.',
  },
});

export const tpmFrameRefusals = defineRefusals('malformed', {
  'tpm-response-malformed': {
    means: 'What came back is not one complete TPM response.',
    hint: 'Check that the address leads to a TPM 2.0; an interposer or another service may answer there.',
  },
});
