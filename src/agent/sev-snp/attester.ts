/** An SEV-SNP guest as an attester (docs/spec/sev-snp-agent.md, section 4): its firmware signs what it is asked to bind. */

import { sha512 } from '@noble/hashes/sha2.js';

import { paddedLabel } from '../../../attestation/core/binding.ts';
import { equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { defineRefusals } from '../../../attestation/core/refusal.ts';
import { sevSnpDeviceClass } from '../../../attestation/sev-snp/device-class.ts';
import {
  claimedIdentity,
  readSevSnpEvidence,
  writeSevSnpEvidence,
  type SevSnpEvidence,
} from '../../../attestation/sev-snp/evidence.ts';
import { SigningKey } from '../../../attestation/sev-snp/layout.ts';
import { computeReportData } from '../../../attestation/sev-snp/report-data.ts';
import type { SevGuest } from '../../../native/sev-guest/guest.ts';
import { openSevGuest } from '../../../native/sev-guest/open.ts';
import type { DeviceAttester, DeviceRequest } from '../evidence.ts';
import { SimulatedSevGuest } from '../simulated/sev-snp-guest.ts';

export const sevSnpAttesterRefusals = defineRefusals('unavailable', {
  'sev-guest-moved': {
    means: 'Reports of this guest name one chip and then another.',
    hint: 'The guest is being migrated: start the agent again afterwards, on a machine that the lab is accredited for.',
  },
});

/** REPORT_DATA of the report from which the guest learns who it is; no device value leads to it (SA-14). */
const IDENTITY_REPORT_DATA = sha512(paddedLabel('weightgate/sev-snp/identity/v1'));
const SIMULATED = 'simulated:';

export class SevSnpAttester implements DeviceAttester {
  readonly deviceClass = 'sev-snp';
  readonly bindsCompanions = sevSnpDeviceClass.bindsCompanions;
  /** 32 bytes that name the chip, or the guest where a provider's key signs. */
  readonly identity: Uint8Array;
  /** Whether the host gave the certificate of the key that signs (SA-16). */
  readonly hasCertificate: boolean;
  private readonly guest: SevGuest;

  private constructor(guest: SevGuest, identity: Uint8Array, hasCertificate: boolean) {
    this.guest = guest;
    this.identity = identity;
    this.hasCertificate = hasCertificate;
  }

  /**
   * Finds the guest's firmware and asks it for a first report.
   *
   * @param address `auto`, `configfs:PATH`, `device:PATH` or `simulated:FOLDER`
   * @throws RefusalError `sev-guest-*`, `snp-*`, `layout-*`; for a simulated guest `file-*` and what its file can be
   */
  static async open(address: string): Promise<SevSnpAttester> {
    const guest = await openSevSnpGuest(address);
    const evidence = await reportOf(guest, IDENTITY_REPORT_DATA);
    return new SevSnpAttester(guest, claimedIdentity(evidence.claimed), hasKeyCertificate(evidence.claimed));
  }

  /** The guest's part of the evidence bundle. @throws RefusalError `sev-guest-*`, `sev-guest-moved` */
  async collect(
    _request: DeviceRequest,
    deviceValue: Uint8Array,
    companionsDigest: Uint8Array,
  ): Promise<JsonValue> {
    const reportData = computeReportData({ deviceValue, companionsDigest });
    const { claimed, evidence } = await reportOf(this.guest, reportData);
    const identity = claimedIdentity(claimed);
    if (equalBytes(identity, this.identity)) return evidence;
    throw sevSnpAttesterRefusals.error('sev-guest-moved', {
      field: this.guest.address,
      expected: `the machine ${toHex(this.identity)}`,
      found: toHex(identity),
    });
  }

  /** Nothing is kept open between reports. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** @throws RefusalError as {@link SevSnpAttester.open} */
export async function openSevSnpGuest(address: string): Promise<SevGuest> {
  if (!address.startsWith(SIMULATED)) return await openSevGuest(address);
  return await SimulatedSevGuest.open(address.slice(SIMULATED.length));
}

/** Asks for a report and reads it as a verifier will, so that what is malformed shows here. */
async function reportOf(
  guest: SevGuest,
  reportData: Uint8Array,
): Promise<{ readonly evidence: JsonValue; readonly claimed: SevSnpEvidence }> {
  const { report, certificateTable } = await guest.report(reportData);
  const evidence = writeSevSnpEvidence(report, certificateTable);
  return { evidence, claimed: readSevSnpEvidence(evidence, guest.address) };
}

function hasKeyCertificate({ report, certificates }: SevSnpEvidence): boolean {
  const { signingKey } = report.keyInfo;
  return (signingKey === SigningKey.vlek ? certificates.vlek : certificates.vcek) !== undefined;
}
