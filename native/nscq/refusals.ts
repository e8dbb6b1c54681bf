/** Every way in which NSCQ, NVIDIA's library for NVSwitches, can fail an agent. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const nscqAddressRefusals = defineRefusals('usage', {
  'nscq-address': {
    means: 'The text that says where the NVSwitches are cannot be read.',
    hint: 'Write none, nscq, or nscq:/usr/lib/x86_64-linux-gnu/libnvidia-nscq.so.2.',
  },
});

export const nscqMachineRefusals = defineRefusals('environment', {
  'nscq-library-missing': {
    means: 'NVIDIA’s library for NVSwitches is not on this machine.',
    hint: 'Install libnvidia-nscq of the driver’s release in this guest, or say none where there are no switches.',
  },
  'nscq-library-old': {
    means: 'NVIDIA’s library for NVSwitches lacks a function that attestation needs.',
    hint: 'Install libnvidia-nscq of the release of the driver, 550 or later.',
  },
  'nscq-call-failed': {
    means: 'NVIDIA’s library for NVSwitches refused a call.',
    hint: 'The name of the error is that of nscq_attestation.h; look into dmesg, and whether the driver is loaded.',
  },
  'nscq-timeout': {
    means:
      'A call into NVIDIA’s library for NVSwitches did not come back in time; nothing more is asked of it.',
    hint: 'The driver or a switch hangs: look into dmesg, and start the guest again. A process that waits for it needs SIGKILL.',
  },
});

export const nscqStateRefusals = defineRefusals('unavailable', {
  'nscq-closed': {
    means: 'A switch was asked after its library was closed.',
    hint: 'This is an error of the caller: open the switches again.',
  },
});

export const nscqContentRefusals = defineRefusals('malformed', {
  'nscq-answer': {
    means: 'What NVIDIA’s library for NVSwitches gave is not what its header promises.',
    hint: 'It may be of an unknown release; compare with its nscq_attestation.h.',
  },
});
