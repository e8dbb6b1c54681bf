/** What a boot is expected to measure, and the register values that follow from it. */

import { concatBytes } from '../../core/bytes.ts';
import type { TpmHash } from '../hash.ts';

/** One extension of a register. */
export interface ExpectedEvent {
  readonly pcr: number;
  /** `image`: the digest is the Authenticode digest of one; `bytes`: it is that of the bytes themselves. */
  readonly kind: 'image' | 'bytes';
  /** What is measured, for people. */
  readonly what: string;
  readonly digest: Uint8Array;
}

/** The event of bytes that are measured as they are. */
export function measure(pcr: number, what: string, bytes: Uint8Array, { digest }: TpmHash): ExpectedEvent {
  return { pcr, kind: 'bytes', what, digest: digest(bytes) };
}

/**
 * Values after all events, by register. Only registers that start with zeros may be among them: PCR 1 to 16 and 23.
 *
 * @param events in the order in which each register is extended
 */
export function registerValues(
  events: readonly ExpectedEvent[],
  bank: TpmHash,
): ReadonlyMap<number, Uint8Array> {
  const values = new Map<number, Uint8Array>();
  for (const { pcr, digest } of events) {
    const before = values.get(pcr) ?? new Uint8Array(bank.bytes);
    values.set(pcr, bank.digest(concatBytes(before, digest)));
  }
  return values;
}
