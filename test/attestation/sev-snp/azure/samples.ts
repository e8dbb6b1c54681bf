/** HCL reports of the shared vectors and parts of which tests make their own. */

import type { HclReport } from '../../../../attestation/sev-snp/azure/layout.ts';

/** A modulus that is odd and has 2048 bits; nobody has its private key. */
const MODULUS = 'w'.repeat(341) + 'Q';

export const attestationKeyClaim = { e: 'AQAB', key_ops: ['sign'], kid: 'HCLAkPub', kty: 'RSA', n: MODULUS };

export const configurationClaim = {
  'console-enabled': false,
  'secure-boot': true,
  'tpm-enabled': true,
  vmUniqueId: '26F8BC30-774E-4290-8E7A-535F3B672AEE',
};

export const runtimeClaims = { keys: [attestationKeyClaim], 'vm-configuration': configurationClaim };

export function claimsBytes(claims: unknown): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(claims));
}

/** A well-formed HCL report of data version 1 around the claims. */
export function hclReportOf(hardwareReport: Uint8Array, claims: Uint8Array, paddingBytes = 100): HclReport {
  return {
    magic: new TextEncoder().encode('HCLA'),
    version: 2,
    reportSize: 32 + 1184 + 20 + claims.length,
    requestType: 2,
    status: 0,
    hardwareReport,
    dataSize: 20 + claims.length,
    dataVersion: 1,
    reportType: 2,
    claimsHash: 1,
    claimsSize: claims.length,
    capabilities: undefined,
    claims,
    padding: new Uint8Array(paddingBytes),
  };
}
