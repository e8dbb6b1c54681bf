/** The device class `sev-snp`: a guest on an AMD processor with SEV-SNP. */

import type { DeviceClass } from '../core/device-class.ts';
import { sevSnpTrustVector } from './claims.ts';
import type { SevSnpClaims } from './claims.ts';
import { claimedIdentity, readSevSnpEvidence } from './evidence.ts';
import type { SevSnpEvidence } from './evidence.ts';
import { verifySevSnpEvidence } from './verify.ts';

export const sevSnpDeviceClass: DeviceClass<SevSnpEvidence, SevSnpClaims> = {
  name: 'sev-snp',
  // REPORT_DATA (report-data.ts).
  bindsCompanions: true,
  parse: readSevSnpEvidence,
  identify: claimedIdentity,
  verify: verifySevSnpEvidence,
  modelOf: ({ productLine }) => productLine,
  trustVectorOf: () => sevSnpTrustVector,
};
