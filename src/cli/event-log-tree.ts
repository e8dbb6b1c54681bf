/** A boot event log as a tree for people: each register, what extended it, and how far its data is covered. */

import { equalBytes, excerpt, toHex } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { defineChecks } from '../../attestation/core/verdict.ts';
import type { Check } from '../../attestation/core/verdict.ts';
import { firstDifference } from '../../attestation/tpm/event-log/compare.ts';
import { coverageOf, type Coverage } from '../../attestation/tpm/event-log/coverage.ts';
import { EventType, eventTypeName } from '../../attestation/tpm/event-log/event-types.ts';
import type { EventLog, LoggedEvent } from '../../attestation/tpm/event-log/read.ts';
import { replayEventLog } from '../../attestation/tpm/event-log/replay.ts';
import { readSecureBoot } from '../../attestation/tpm/event-log/secure-boot.ts';
import { readUefiVariable } from '../../attestation/tpm/event-log/uefi-variable.ts';
import type { TpmHash } from '../../attestation/tpm/hash.ts';

export const eventLogViewChecks = defineChecks('inauthentic', {
  'event-log-register': {
    means: 'A register that a log leads to is not the one that was given.',
    hint: 'Compare with the registers of the same boot and bank; the log may be that of another boot.',
    protects: 'The log of another boot could be taken for that of this one.',
  },
  'event-log-other-boot': {
    means: 'Two logs part in a register.',
    hint: 'Look at the first record that differs: it is what changed between the two boots.',
    protects: 'A change of what boots would go unseen.',
  },
});

export interface EventLine {
  readonly index: number;
  readonly pcr: number;
  readonly type: string;
  readonly digest: string;
  readonly covers: Coverage['covers'];
  /** What the data says, also where nothing covers it. */
  readonly data: string;
}

export interface RegisterTree {
  readonly pcr: number;
  readonly value: string;
  readonly events: readonly EventLine[];
}

export interface EventLogTree {
  readonly format: EventLog['format'];
  readonly bank: string;
  readonly secureBoot: string;
  readonly registers: readonly RegisterTree[];
}

/** @throws RefusalError `event-log-*` */
export function eventLogTree(log: EventLog, bank: TpmHash): EventLogTree {
  const values = replayEventLog(log, bank.algorithm);
  const registers = [...values].toSorted(([left], [right]) => left - right);
  return {
    format: log.format,
    bank: bank.bank,
    secureBoot: secureBootText(log, bank),
    registers: registers.map(([pcr, value]) => ({
      pcr,
      value: toHex(value),
      events: eventLines(log, bank, pcr),
    })),
  };
}

function secureBootText(log: EventLog, bank: TpmHash): string {
  try {
    const { state, authorities } = readSecureBoot(log, bank);
    return `${state}; ${authorities.length} authorities after the firmware`;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return `cannot be told: ${error.message}`;
  }
}

function eventLines(log: EventLog, bank: TpmHash, pcr: number): readonly EventLine[] {
  return extendingLines(log, bank).filter((line) => line.pcr === pcr);
}

/** Each record that extends a register in the bank, in the order of the log. */
export function extendingLines({ events }: EventLog, bank: TpmHash): readonly EventLine[] {
  return events.flatMap((event, index) => {
    const { pcr } = event;
    const digest = event.digests.get(bank.algorithm);
    if (event.type === EventType.noAction || digest === undefined) return [];
    const { covers } = coverageOf(event, bank);
    const type = eventTypeName(event.type) ?? `0x${event.type.toString(16)}`;
    return [{ index, pcr, type, digest: toHex(digest), covers, data: dataText(event) }];
  });
}

const VARIABLE_TYPES: ReadonlySet<number> = new Set([
  EventType.efiVariableDriverConfig,
  EventType.efiVariableBoot,
  EventType.efiVariableBoot2,
  EventType.efiVariableAuthority,
]);
const TEXT = /^[\x20-\x7e\n\t]+$/;

/** Whoever wrote the log chose these bytes: nothing unprintable reaches a terminal. */
function dataText({ type, data }: LoggedEvent): string {
  if (VARIABLE_TYPES.has(type)) return variableText(data);
  const text = decodedText(data);
  return TEXT.test(text) ? excerpt(text) : `${data.length} bytes ${toHex(data.subarray(0, 16))}`;
}

/** systemd writes UTF-16; in it every other byte of a plain text is zero. */
function decodedText(data: Uint8Array): string {
  const isWide =
    data.length >= 2 && data.length % 2 === 0 && data.every((byte, i) => i % 2 === 0 || byte === 0);
  return new TextDecoder(isWide ? 'utf-16le' : 'utf-8').decode(data).replace(/\0$/, '');
}

function variableText(bytes: Uint8Array): string {
  try {
    const { name, data } = readUefiVariable(bytes, 'variable');
    const value = data.length <= 16 ? toHex(data) : `${data.length} bytes`;
    return `${excerpt(name)} = ${value || 'nothing'}`;
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return `${bytes.length} bytes that are no variable`;
  }
}

export function headLines({ format, bank, secureBoot }: EventLogTree): readonly string[] {
  return [
    `log          ${format}, bank ${bank}; nothing of it is proven until a quote has these registers`,
    `secure boot  ${secureBoot}`,
  ];
}

export function treeLines(tree: EventLogTree): readonly string[] {
  const registers = tree.registers.flatMap(({ pcr, value, events }) => [
    `PCR ${pcr}  ${value}`,
    ...events.map(eventText),
  ]);
  return [...headLines(tree), ...registers];
}

const MARKS: Readonly<Record<Coverage['covers'], string>> = {
  event: 'covered',
  variable: 'value covered',
  text: 'text covered',
  nothing: 'untrusted',
};

export function eventText({ index, type, digest, covers, data }: EventLine): string {
  return `  [${index}] ${type}  ${digest.slice(0, 16)}…  ${MARKS[covers]}: ${data}`;
}

/** One check for each register that was given. */
export function registerChecks(
  log: EventLog,
  bank: TpmHash,
  given: ReadonlyMap<number, Uint8Array>,
): readonly Check[] {
  const values = replayEventLog(log, bank.algorithm);
  return [...given].map(([pcr, expected]) => {
    const found = values.get(pcr);
    const holds = found !== undefined && equalBytes(found, expected);
    return check('event-log-register', `PCR ${pcr}`, holds, toHex(expected), found && toHex(found));
  });
}

/** One check for each register of either log. */
export function bootChecks(log: EventLog, reference: EventLog, bank: TpmHash): readonly Check[] {
  const pcrs = new Set([log, reference].flatMap((one) => [...replayEventLog(one, bank.algorithm).keys()]));
  return [...pcrs]
    .toSorted((left, right) => left - right)
    .map((pcr) => {
      const difference = firstDifference(log, bank, pcr, digestsOf(reference, bank, pcr));
      const place = difference?.index === undefined ? 'at the end of the log' : `record ${difference.index}`;
      const field = difference === undefined ? `PCR ${pcr}` : `PCR ${pcr}, ${place}`;
      return check(
        'event-log-other-boot',
        field,
        difference === undefined,
        difference?.expected,
        difference?.found,
      );
    });
}

function digestsOf({ events }: EventLog, bank: TpmHash, pcr: number): readonly Uint8Array[] {
  return events
    .filter((event) => event.pcr === pcr && event.type !== EventType.noAction)
    .flatMap(({ digests }) => digests.get(bank.algorithm) ?? []);
}

function check(
  id: keyof typeof eventLogViewChecks.codes,
  field: string,
  holds: boolean,
  expected = 'the same records',
  found = holds ? 'the same records' : 'no record',
): Check {
  const { protects } = eventLogViewChecks.codes[id];
  return { id, outcome: holds ? 'passed' : 'failed', field, expected, found, protects };
}
