/** The device class `tpm`: a TPM 2.0 that quotes its PCRs. */

import type { DeviceClass } from '../core/device-class.ts';
import { attestationKeyIdentity } from './attestation-key.ts';
import type { TpmClaims } from './claims.ts';
import { readTpmEvidence } from './evidence.ts';
import type { TpmEvidence } from './evidence.ts';
import { verifyTpmEvidence } from './verify.ts';

export const tpmDeviceClass: DeviceClass<TpmEvidence, TpmClaims> = {
  name: 'tpm',
  parse: readTpmEvidence,
  identify: ({ akPublic }) => attestationKeyIdentity(akPublic),
  verify: verifyTpmEvidence,
};
