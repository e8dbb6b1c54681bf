/** Every way in which NVML, the library of NVIDIA's driver, can fail an agent. */

import { defineRefusals } from '../../attestation/core/refusal.ts';

export const nvmlAddressRefusals = defineRefusals('usage', {
  'nvml-address': {
    means: 'The text that says where the GPUs are cannot be read.',
    hint: 'Write auto, nvml, nvml:/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1 or simulated:FOLDER.',
  },
});

export const nvmlMachineRefusals = defineRefusals('environment', {
  'nvml-library-missing': {
    means: 'The library of NVIDIA’s driver is not on this machine.',
    hint: 'Install the driver in this guest; in a container, let the runtime mount its libraries.',
  },
  'nvml-library-old': {
    means: 'The library of NVIDIA’s driver lacks a function that attestation needs.',
    hint: 'Use a driver of release 550 or later; that library and kernel module are of one release shows nvidia-smi.',
  },
  'nvml-driver-not-loaded': {
    means: 'The kernel module of NVIDIA’s driver is not loaded.',
    hint: 'Load it (modprobe nvidia), and look into dmesg if it refuses; it needs a GPU that the host passed on.',
  },
  'nvml-driver-mismatch': {
    means: 'Kernel module and library of NVIDIA’s driver are of different releases.',
    hint: 'Start the guest again after an update of the driver; in a container, mount the libraries of the guest.',
  },
  'nvml-not-permitted': {
    means: 'This user may not do that with the GPUs.',
    hint: 'Run as root: setting the ready state needs it; reading needs access to /dev/nvidiactl and /dev/nvidia*.',
  },
  'nvml-not-supported': {
    means: 'The GPU, its driver or its mode of operation has no such function.',
    hint: 'Attestation needs a Hopper or Blackwell GPU in confidential-compute mode: the host sets it (nvidia_gpu_tools).',
  },
  'nvml-gpu-lost': {
    means: 'A GPU does not answer its driver any more.',
    hint: 'Look into dmesg (Xid lines); the host has to reset the GPU, and the guest has to start again.',
  },
  'nvml-call-failed': {
    means: 'The driver refused a call.',
    hint: 'The name of the error is that of nvml.h; look into dmesg.',
  },
  'nvml-timeout': {
    means: 'A call into NVIDIA’s driver did not come back in time; nothing more is asked of it.',
    hint: 'The driver or a GPU hangs: look into dmesg, and start the guest again. A process that waits for it needs SIGKILL.',
  },
});

export const nvmlStateRefusals = defineRefusals('unavailable', {
  'nvml-busy': {
    means: 'The driver or a GPU is not ready for the call, or has no room for it.',
    hint: 'Try again; if it stays so, stop other programs that use the GPUs (nvidia-smi shows them).',
  },
  'nvml-closed': {
    means: 'A GPU was asked after its driver was closed.',
    hint: 'This is an error of the caller: open the GPUs again.',
  },
});

export const nvmlContentRefusals = defineRefusals('malformed', {
  'nvml-answer': {
    means: 'What the driver gave is not what the header of its library promises.',
    hint: 'The driver may be of an unknown release; compare with its nvml.h.',
  },
});
