/** The device class `tpm`: a TPM 2.0 that quotes its PCRs. */

import type { DeviceClass } from '../core/device-class.ts';
import { attestationKeyIdentity } from './attestation-key.ts';
import { tpmTrustVector } from './claims.ts';
import type { TpmClaims } from './claims.ts';
import { readTpmEvidence } from './evidence.ts';
import type { TpmEvidence } from './evidence.ts';
import { verifyTpmEvidence } from './verify.ts';

export const tpmDeviceClass: DeviceClass<TpmEvidence, TpmClaims> = {
  name: 'tpm',
  // A quote has room for the device value alone, and nothing shows that the TPM is in this very machine.
  bindsCompanions: false,
  parse: readTpmEvidence,
  identify: ({ akPublic }) => attestationKeyIdentity(akPublic),
  verify: verifyTpmEvidence,
  modelOf: ({ model }) => model,
  trustVectorOf: () => tpmTrustVector,
};
