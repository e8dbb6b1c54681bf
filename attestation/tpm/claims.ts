/** What is true of a machine after its TPM's evidence was accepted. All of it is JSON: claims are logged. */

import { toHex } from '../core/bytes.ts';
import type { DeviceClaims } from '../core/device-class.ts';
import { TrustValue } from '../core/ear/trust-vector.ts';
import type { TrustVector } from '../core/ear/trust-vector.ts';
import { bootClaims } from './boot/claims.ts';
import type { BootClaims } from './boot/claims.ts';
import type { BootFacts } from './boot/facts.ts';
import type { TpmEnrolmentRecord, TpmReferenceValues } from './documents.ts';
import type { TpmHash } from './hash.ts';
import type { QuoteAttest } from './layout.ts';

export interface TpmClaims extends DeviceClaims {
  /** Name of the device class. */
  readonly class: 'tpm';
  /** The lab that enrolled the TPM. */
  readonly lab: string;
  /** Name of the attestation key, hex. */
  readonly akName: string;
  /** SHA-256 of the endorsement key's SubjectPublicKeyInfo, hex. */
  readonly ekPublicDigest: string;
  /** As in the endorsement certificate, for example `id:49465800`. */
  readonly manufacturer: string;
  /** As in the endorsement certificate. */
  readonly model: string;
  /** Name of the authority that vouches for the TPM. */
  readonly anchor: string;
  /** Hash algorithm of the quoted PCRs. */
  readonly bank: string;
  /** Quoted values by PCR number, hex. Judged were those that `referenceValues` names, and those that `boot` explains. */
  readonly pcrs: Readonly<Record<string, string>>;
  /** Name of the reference values that the machine matches. */
  readonly referenceValues: string;
  /** What the logs prove of the boot; null where the policy has no rules for it. */
  readonly boot: BootClaims | null;
  /** Milliseconds, decimal. Comparable within one pair of counters only. */
  readonly clock: string;
  /** Whether the TPM is sure that it never told a later time. */
  readonly clockSafe: boolean;
  /** How often the TPM was reset: each start of the machine counts. */
  readonly resetCount: number;
  /** How often the machine was resumed or restarted since the last reset. */
  readonly restartCount: number;
  /** Vendor's value, hex. */
  readonly firmwareVersion: string;
  /** Whether the TPM was reset or resumed since the last accepted quote. */
  readonly restarted: boolean;
  /** Value of the ratchet, hex; null where the policy does not ask for it. */
  readonly ratchet: string | null;
}

/** What the verification found out besides the quote. */
export interface ClaimSources {
  readonly identity: string;
  readonly record: TpmEnrolmentRecord;
  readonly anchor: { readonly name: string; readonly simulated: boolean };
  readonly bank: TpmHash;
  readonly pcrs: ReadonlyMap<number, Uint8Array>;
  /** What the machine matches. */
  readonly reference: TpmReferenceValues | undefined;
  readonly boot: BootFacts | null;
  readonly ratchet: Uint8Array | null;
}

export function tpmClaims(quote: QuoteAttest, sources: ClaimSources): TpmClaims {
  const { identity, record, anchor, bank, pcrs, reference, boot, ratchet } = sources;
  const { clock, resetCount, restartCount, safe } = quote.clockInfo;
  const { lastSeen } = record;
  return {
    class: 'tpm',
    identity,
    simulated: anchor.simulated,
    lab: record.lab,
    akName: toHex(record.akName),
    ekPublicDigest: toHex(record.ekPublicDigest),
    manufacturer: record.manufacturer,
    model: record.model,
    anchor: anchor.name,
    bank: bank.bank,
    pcrs: Object.fromEntries([...pcrs].map(([pcr, value]) => [String(pcr), toHex(value)])),
    referenceValues: reference?.name ?? '',
    boot: boot === null ? null : bootClaims(boot, reference?.boot ?? null, bank),
    clock: clock.toString(),
    clockSafe: safe === 1,
    resetCount,
    restartCount,
    firmwareVersion: quote.firmwareVersion.toString(16).padStart(16, '0'),
    restarted:
      lastSeen !== null && (lastSeen.resetCount !== resetCount || lastSeen.restartCount !== restartCount),
    ratchet: ratchet && toHex(ratchet),
  };
}

/** A quote says what was booted, and nothing of who can read the machine's memory. */
export const tpmTrustVector: TrustVector = {
  'instance-identity': TrustValue.trustworthyInstance,
  executables: TrustValue.approvedBoot,
  hardware: TrustValue.genuineHardware,
};
