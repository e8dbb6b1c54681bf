/** Why an agent does not use the GPUs of its machine, although they can be reached. */

import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const gpuStateRefusals = defineRefusals('environment', {
  'nvml-gpu-missing': {
    means: 'The driver knows no GPU.',
    hint: 'Pass a GPU on to the guest, or leave nvidia-gpu out of the devices.',
  },
  'nvml-confidential-off': {
    means: 'Confidential computing is off, or not that of production.',
    hint: 'The host switches it on and resets the GPU (nvidia_gpu_tools --set-cc-mode=on); then start the guest again.',
  },
  'nvml-dev-tools': {
    means: 'The GPUs are in dev-tools mode: what they compute on can be read.',
    hint: 'The host sets the mode on in place of devtools and resets the GPU; then start the guest again.',
  },
  'nvml-ready-before': {
    means: 'The GPUs take work already, although this agent has not verified them.',
    hint: 'Stop what sets the ready state (nvidia-smi conf-compute -srs 0), or give a reason to accept it.',
  },
  'nvml-ready-refused': {
    means: 'The driver did not take the ready state that the agent set.',
    hint: 'Some drivers keep a state until the guest starts again: look into dmesg.',
  },
});

export const gpuEvidenceRefusals = defineRefusals('unacceptable', {
  'nvml-gpu-twice': {
    means: 'Two devices of this machine have the same identity.',
    hint: 'The host shows one GPU twice, or an interposer copies it; use another machine.',
  },
  'nvml-gpu-changed': {
    means: 'The GPUs or switches are not those that this agent has verified.',
    hint: 'The host exchanged a device: start the agent again, on a machine that the lab is accredited for.',
  },
  'nvml-not-judged': {
    means: 'The agent was not told by what it has to judge a device before the GPUs may work.',
    hint: 'Give the agent an appraisal policy for each class of device in this machine.',
  },
  'nvml-engine-unverified': {
    means: 'The engine is to use GPUs that the agent has not verified.',
    hint: 'Name the GPUs with --nvidia-gpu and a policy to judge them by, or leave --gpu out: weights would lie in open memory.',
  },
  'nvml-nonce': {
    means: 'A device answered with a report for another nonce than the one it was given.',
    hint: 'The library may be too old to pass a nonce on, or something between answers from memory.',
  },
});
