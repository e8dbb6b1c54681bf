/** Reading a whole boot event log (docs/spec/tpm-event-log.md, section 1): all records or none. */

import { equalBytes } from '../../core/bytes.ts';
import { decode, remainingBytes, structure } from '../../core/layout.ts';
import type { Layout } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { Algorithm } from '../layout.ts';
import { EventType } from './event-types.ts';
import { agileRecord, legacyRecord, SPEC_ID_SIGNATURE, specIdEvent } from './layout.ts';
import type { AgileRecord, LegacyRecord, SpecIdEvent } from './layout.ts';

export const eventLogRefusals = defineRefusals('malformed', {
  'event-log-size': {
    means: 'A boot event log is empty, or larger than any that a machine writes.',
    hint: 'Send the log of the kernel as it is; it is some tens of kilobytes long.',
  },
  'event-log-header': {
    means: 'The first record of a boot event log contradicts itself.',
    hint: 'The first record names each digest algorithm once, in PCR 0 and without a digest of its own.',
  },
  'event-log-digests': {
    means: 'A record of a boot event log has two digests of one algorithm.',
    hint: 'The log was altered; each record has at most one digest for each algorithm of the first record.',
  },
  'event-log-pcr': {
    means: 'A record of a boot event log extends a register that does not exist.',
    hint: 'The log was altered; there are 24 registers.',
  },
});

/** Real logs have up to about 100 KiB. */
const MAX_LOG_BYTES = 4 * 1024 * 1024;
const PCR_COUNT = 24;
/** Stands where a record belongs to no register; Windows writes it. */
const NO_PCR = 0xffffffff;

/** One record, claimed. Only what a replayed digest covers is worth anything. */
export interface LoggedEvent {
  readonly pcr: number;
  readonly type: number;
  /** By TPM_ALG_ID. */
  readonly digests: ReadonlyMap<number, Uint8Array>;
  readonly data: Uint8Array;
}

export interface EventLog {
  readonly format: 'crypto-agile' | 'legacy';
  /** TPM_ALG_ID of the banks that the log can be replayed in, as the log names them. */
  readonly algorithms: readonly number[];
  /** In order, with the first record of a crypto-agile log, which says what follows. */
  readonly events: readonly LoggedEvent[];
}

/**
 * Reads a log. Bytes after the last record may be of one value, 00 or FF, as areas of fixed size are filled up.
 *
 * @throws RefusalError `event-log-*`, `layout-*`; nothing of a log that breaks off is returned
 */
export function readEventLog(bytes: Uint8Array): EventLog {
  if (bytes.length === 0 || bytes.length > MAX_LOG_BYTES) {
    throw eventLogRefusals.error('event-log-size', {
      field: 'eventLog',
      expected: `1 to ${MAX_LOG_BYTES} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const { record: first, rest } = decode(nextLegacyRecord, bytes, 'eventLog[0]');
  if (!isSpecId(first)) return legacyLog(bytes);
  const header = readHeader(first);
  return {
    format: 'crypto-agile',
    algorithms: header.algorithms.map(({ algorithm }) => algorithm),
    events: [legacyEvent(first, 0), ...readRecords(nextAgileRecord(header), rest, 1).map(agileEvent)],
  };
}

/** A record and what follows it. */
type NextRecord<T> = Layout<{ readonly record: T; readonly rest: Uint8Array }>;

const nextLegacyRecord = structure({ record: legacyRecord, rest: remainingBytes() });

function nextAgileRecord(header: SpecIdEvent): NextRecord<AgileRecord> {
  return structure({ record: agileRecord(header), rest: remainingBytes() });
}

function isSpecId({ type, data }: LegacyRecord): boolean {
  return (
    type === EventType.noAction && equalBytes(data.subarray(0, SPEC_ID_SIGNATURE.length), SPEC_ID_SIGNATURE)
  );
}

function readHeader({ pcr, digest, data }: LegacyRecord): SpecIdEvent {
  const header = decode(specIdEvent, data, 'eventLog[0].data');
  const names = new Set(header.algorithms.map(({ algorithm }) => algorithm));
  const isSound = pcr === 0 && digest.every((byte) => byte === 0) && names.size > 0;
  if (isSound && names.size === header.algorithms.length) return header;
  throw eventLogRefusals.error('event-log-header', {
    field: 'eventLog[0]',
    expected: 'PCR 0, a digest of zeros, each algorithm once',
    found: `PCR ${pcr}, ${header.algorithms.length} algorithms of which ${names.size} differ`,
  });
}

function legacyLog(bytes: Uint8Array): EventLog {
  return {
    format: 'legacy',
    algorithms: [Algorithm.sha1],
    events: readRecords(nextLegacyRecord, bytes, 0).map(legacyEvent),
  };
}

/** @param firstIndex number of the first of them in the log */
function readRecords<T>(layout: NextRecord<T>, bytes: Uint8Array, firstIndex: number): readonly T[] {
  const padding = paddingLength(bytes);
  const records: T[] = [];
  let rest = bytes;
  while (rest.length > padding) {
    const next = decode(layout, rest, `eventLog[${firstIndex + records.length}]`);
    records.push(next.record);
    rest = next.rest;
  }
  return records;
}

/**
 * How many bytes at the end are all 00 or all FF. The data of the last record may be among them; what counts is that
 * nothing else follows a record. A record of zeros alone is none that a log has.
 */
function paddingLength(bytes: Uint8Array): number {
  const last = bytes.at(-1);
  if (last !== 0x00 && last !== 0xff) return 0;
  return bytes.length - 1 - bytes.findLastIndex((byte) => byte !== last);
}

function legacyEvent({ pcr, type, digest, data }: LegacyRecord, index: number): LoggedEvent {
  demandRegister(pcr, type, index);
  return { pcr, type, digests: new Map([[Algorithm.sha1, digest]]), data };
}

function agileEvent({ pcr, type, digests, data }: AgileRecord, i: number): LoggedEvent {
  demandRegister(pcr, type, i + 1);
  const byAlgorithm = new Map(digests.map(({ algorithm, digest }) => [algorithm, digest]));
  if (byAlgorithm.size === digests.length) return { pcr, type, digests: byAlgorithm, data };
  throw eventLogRefusals.error('event-log-digests', {
    field: `eventLog[${i + 1}].digests`,
    expected: 'at most one digest for each algorithm',
    found: digests.map(({ algorithm }) => `0x${algorithm.toString(16)}`).join(', '),
  });
}

function demandRegister(pcr: number, type: number, index: number): void {
  if (pcr < PCR_COUNT || (pcr === NO_PCR && type === EventType.noAction)) return;
  throw eventLogRefusals.error('event-log-pcr', {
    field: `eventLog[${index}].pcr`,
    expected: `0 to ${PCR_COUNT - 1}, or no register for a record that extends none`,
    found: String(pcr),
  });
}
