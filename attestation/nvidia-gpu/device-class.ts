/** The device classes `nvidia-gpu`, a GPU in a confidential mode, and `nvswitch`, a switch between such GPUs. */

import type { DeviceClass } from '../core/device-class.ts';
import { gpuTrustVector, switchTrustVector } from './claims.ts';
import type { GpuClaims, SwitchClaims } from './claims.ts';
import { claimedIdentity, readGpuEvidence, readSwitchEvidence } from './evidence.ts';
import type { GpuEvidence, SwitchEvidence } from './evidence.ts';
import { appraiseSwitches, appraiseTopology } from './topology.ts';
import { verifyGpuEvidence, verifySwitchEvidence } from './verify.ts';

export const nvidiaGpuDeviceClass: DeviceClass<GpuEvidence, GpuClaims> = {
  name: 'nvidia-gpu',
  // A report has room for one nonce, the device value.
  bindsCompanions: false,
  parse: readGpuEvidence,
  identify: claimedIdentity,
  verify: verifyGpuEvidence,
  modelOf: ({ chip }) => chip,
  trustVectorOf: gpuTrustVector,
  appraiseSet: appraiseTopology,
};

export const nvswitchDeviceClass: DeviceClass<SwitchEvidence, SwitchClaims> = {
  name: 'nvswitch',
  bindsCompanions: false,
  parse: readSwitchEvidence,
  identify: claimedIdentity,
  verify: verifySwitchEvidence,
  modelOf: ({ chip }) => chip,
  trustVectorOf: () => switchTrustVector,
  appraiseSet: appraiseSwitches,
};
