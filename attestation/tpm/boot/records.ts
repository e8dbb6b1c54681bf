/**
 * The records of a register that a rule relies on. Replay proves digests alone: what the log calls a record is not proven, so
 * that a record of a type that does not belong there could be any other that was given another name (docs/spec/tpm-boot.md,
 * BC-12). None is passed over.
 */

import { defineRefusals } from '../../core/refusal.ts';
import { coverageOf } from '../event-log/coverage.ts';
import { EventType, eventTypeName } from '../event-log/event-types.ts';
import type { EventLog, LoggedEvent } from '../event-log/read.ts';
import type { TpmHash } from '../hash.ts';

export const bootRecordRefusals = defineRefusals('inauthentic', {
  'tpm-boot-record': {
    means: 'A register that is relied on has a record that does not belong there, or not in this place.',
    hint: 'The log was altered, or firmware or a boot loader measured something unusual; inspect the log.',
  },
});

export interface BootRecord {
  /** Position in the log. */
  readonly index: number;
  readonly type: number;
  /** Of the bank that was replayed. */
  readonly digest: Uint8Array;
  /** What the digest is the digest of, as far as the log shows it; everything else in the record is untrusted. */
  readonly covered: Uint8Array | undefined;
}

/** What extends a register, in order. @param log whose replay of this register is what was quoted */
export function recordsOf({ events }: EventLog, bank: TpmHash, pcr: number): readonly BootRecord[] {
  return events.flatMap((event, index) => {
    const digest = event.digests.get(bank.algorithm);
    if (event.pcr !== pcr || event.type === EventType.noAction || digest === undefined) return [];
    return [{ index, type: event.type, digest, covered: coveredBytes(event, bank) }];
  });
}

function coveredBytes(event: LoggedEvent, bank: TpmHash): Uint8Array | undefined {
  const coverage = coverageOf(event, bank);
  return coverage.covers === 'nothing' ? undefined : coverage.bytes;
}

/** @throws RefusalError `tpm-boot-record` */
export function refuseRecord({ index, type }: BootRecord, pcr: number, expected: string): never {
  throw bootRecordRefusals.error('tpm-boot-record', {
    field: `eventLog[${index}]`,
    expected: `in PCR ${pcr}: ${expected}`,
    found: eventTypeName(type) ?? `a record of the type 0x${type.toString(16)}`,
  });
}
