/** What an SEV-SNP guest can obtain from its firmware, whichever interface of the kernel leads there. */

import { setTimeout as pause } from 'node:timers/promises';

import { sevGuestStateRefusals } from './refusals.ts';

/** A report as firmware and host gave it. Nothing in it is verified. */
export interface SevGuestReport {
  /** ATTESTATION_REPORT. */
  readonly report: Uint8Array;
  /** The host's certificate table; empty when it gave none. */
  readonly certificateTable: Uint8Array;
}

export interface SevGuest {
  /** Where it leads, for messages. */
  readonly address: string;
  /**
   * Has the firmware sign a report.
   *
   * @param reportData 64 bytes that the report is to carry
   * @throws RefusalError `sev-guest-*`
   */
  report(reportData: Uint8Array): Promise<SevGuestReport>;
}

/** REPORT_DATA of a request. */
export const REPORT_DATA_BYTES = 64;
/** No host has a reason to give more. */
export const MAX_CERTIFICATE_BYTES = 64 * 1024;

const MAX_ATTEMPTS = 8;

/**
 * Does work again while it answers `busy`, with a growing pause (SA-7, SA-11).
 *
 * @param firstPauseMilliseconds doubles with each attempt
 * @throws RefusalError `sev-guest-busy`
 */
export async function whileBusy<T>(
  address: string,
  firstPauseMilliseconds: number,
  attempt: () => Promise<T | 'busy'>,
): Promise<T> {
  for (let attempts = 0; attempts < MAX_ATTEMPTS; attempts += 1) {
    if (attempts > 0) await pause(firstPauseMilliseconds * 2 ** (attempts - 1));
    const answer = await attempt();
    if (answer !== 'busy') return answer;
  }
  throw sevGuestStateRefusals.error('sev-guest-busy', {
    field: address,
    expected: 'a report that nobody disturbs',
    found: `${MAX_ATTEMPTS} attempts in vain`,
  });
}
