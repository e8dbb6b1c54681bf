/** What is true of an Azure machine after its report and its quote were accepted. All of it is JSON. */

import { toHex } from '../../core/bytes.ts';
import type { QuoteAttest } from '../../tpm/layout.ts';
import type { SevSnpReportClaims } from '../claims.ts';
import type { RuntimeClaims } from './runtime-claims.ts';

export interface AzureVtpmClaims {
  /** Whether the hardware is simulated: follows from the anchor of the report alone (W9). */
  readonly simulated: boolean;
  /** The hardware and the paravisor. */
  readonly report: SevSnpReportClaims;
  /** By the word of the paravisor. */
  readonly vmUniqueId: string;
  readonly secureBoot: boolean;
  readonly consoleEnabled: boolean;
  /** What the machine wrote into the claims before the report was made, hex. */
  readonly userData: string;
  /** Name of the attestation key, hex. */
  readonly akName: string;
  /** extraData of the quote, hex. */
  readonly nonce: string;
  readonly bank: string;
  /** Quoted values by PCR number, hex. Only those that `referenceValues` names were judged. */
  readonly pcrs: Readonly<Record<string, string>>;
  /** Name of the reference values that the PCRs match. */
  readonly referenceValues: string;
  /** Milliseconds, decimal. Comparable within one pair of counters only. */
  readonly clock: string;
  readonly clockSafe: boolean;
  readonly resetCount: number;
  readonly restartCount: number;
}

export interface ClaimSources {
  readonly report: SevSnpReportClaims;
  readonly runtime: RuntimeClaims;
  readonly quote: QuoteAttest;
  readonly akName: Uint8Array;
  readonly bank: string;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  readonly referenceValues: string;
}

export function azureVtpmClaims(sources: ClaimSources): AzureVtpmClaims {
  const { report, runtime, quote, akName, bank, pcrs, referenceValues } = sources;
  const { clock, resetCount, restartCount, safe } = quote.clockInfo;
  return {
    simulated: report.simulated,
    report,
    vmUniqueId: runtime.configuration.vmUniqueId,
    secureBoot: runtime.configuration.secureBoot,
    consoleEnabled: runtime.configuration.consoleEnabled,
    userData: toHex(runtime.userData),
    akName: toHex(akName),
    nonce: toHex(quote.extraData),
    bank,
    pcrs: Object.fromEntries([...pcrs].map(([pcr, value]) => [String(pcr), toHex(value)])),
    referenceValues,
    clock: clock.toString(),
    clockSafe: safe === 1,
    resetCount,
    restartCount,
  };
}
