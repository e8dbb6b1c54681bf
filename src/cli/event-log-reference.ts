/** A boot event log against a reference document: where a register differs, the first record that the document does not know. */

import { concatBytes, equalBytes, fromHex, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { defineChecks } from '../../attestation/core/verdict.ts';
import type { Check } from '../../attestation/core/verdict.ts';
import { isAllowedText, measuredForms, textOfBytes } from '../../attestation/tpm/boot/command-line.ts';
import type { BootReference } from '../../attestation/tpm/boot/reference.ts';
import type { TpmReferenceValues } from '../../attestation/tpm/documents.ts';
import { firstDifference } from '../../attestation/tpm/event-log/compare.ts';
import { coverageOf } from '../../attestation/tpm/event-log/coverage.ts';
import { EventType, eventTypeName } from '../../attestation/tpm/event-log/event-types.ts';
import type { EventLog, LoggedEvent } from '../../attestation/tpm/event-log/read.ts';
import { replayEventLog } from '../../attestation/tpm/event-log/replay.ts';
import type { TpmHash } from '../../attestation/tpm/hash.ts';

export const eventLogReferenceChecks = defineChecks('unacceptable', {
  'event-log-reference': {
    means: 'A register that a log leads to has none of the values of the reference document.',
    hint: 'Look at the record that is named: it is the first that the document does not know.',
    protects: 'A boot that nobody approved would go unseen.',
  },
});

/** One check for each register of the document. PCR 11 goes on after the log: there its beginning counts. */
export function referenceChecks(log: EventLog, reference: TpmReferenceValues): readonly Check[] {
  const { bank, pcrs } = reference;
  const values = replayEventLog(log, bank.algorithm);
  return [...pcrs].map(([pcr, allowed]) => {
    const found = values.get(pcr) ?? new Uint8Array(bank.bytes);
    if (allowed.some((value) => equalBytes(value, found))) return passed(pcr, toHex(found));
    const difference = firstUnknown(log, pcr, reference);
    if (difference === 'none') return passed(pcr, 'the records of the document, before any phase');
    const expected = allowed.map(toHex).join(' or ');
    return difference === undefined
      ? failed(`PCR ${pcr}`, expected, toHex(found))
      : failed(`PCR ${pcr}, ${difference.place}`, difference.expected, difference.found);
  });
}

const ID = 'event-log-reference';
const { protects } = eventLogReferenceChecks.codes[ID];

const passed = (pcr: number, value: string): Check => ({
  id: ID,
  outcome: 'passed',
  field: `PCR ${pcr}`,
  expected: value,
  found: value,
  protects,
});

const failed = (field: string, expected: string, found: string): Check => ({
  id: ID,
  outcome: 'failed',
  field,
  expected,
  found,
  protects,
});

interface UnknownRecord {
  readonly place: string;
  readonly expected: string;
  readonly found: string;
}

const IMAGES_PCR = 4;
const UKI_PCR = 11;

/** Undefined where the document has values alone, `none` where every record is one that it names. */
function firstUnknown(
  log: EventLog,
  pcr: number,
  { boot, bank }: TpmReferenceValues,
): UnknownRecord | 'none' | undefined {
  if (boot === null) return undefined;
  if (pcr === UKI_PCR && boot.uki.length > 0) return differentSection(log, boot.uki, bank);
  const knows = recordsOf(pcr, boot, bank);
  if (knows === undefined) return undefined;
  const index = log.events.findIndex(
    (event) => event.pcr === pcr && !NAMED_NOWHERE.has(event.type) && !knows(event),
  );
  const event = log.events[index];
  if (event === undefined) return undefined;
  return {
    place: `record ${index}, ${eventTypeName(event.type) ?? 'of an unknown type'}`,
    expected: 'an image or text of the document',
    found: digestOf(event, bank),
  };
}

const LOADER_PCRS: ReadonlySet<number> = new Set([8, 9, 12]);
/** What extends nothing, and what the firmware adds to PCR 4 of its own. */
const NAMED_NOWHERE: ReadonlySet<number> = new Set([
  EventType.noAction,
  EventType.separator,
  EventType.efiAction,
]);

/** Whether a document names a record of this register; undefined where it names none of it at all. */
function recordsOf(
  pcr: number,
  { images, loader: { digests, texts } }: BootReference,
  bank: TpmHash,
): ((event: LoggedEvent) => boolean) | undefined {
  if (pcr === IMAGES_PCR) return (event) => images.has(digestOf(event, bank));
  if (!LOADER_PCRS.has(pcr)) return undefined;
  const exact = texts.flatMap((text) => ('exact' in text ? measuredForms(text.exact) : []));
  const ofTexts = new Set(exact.map((form) => toHex(bank.digest(form))));
  return (event) => {
    const digest = digestOf(event, bank);
    const coverage = coverageOf(event, bank);
    const text = coverage.covers === 'nothing' ? undefined : textOfBytes(coverage.bytes);
    const isText = text !== undefined && isAllowedText(text, texts);
    return digests.has(digest) || ofTexts.has(digest) || isText;
  };
}

function digestOf({ digests }: LoggedEvent, { algorithm }: TpmHash): string {
  return toHex(digests.get(algorithm) ?? new Uint8Array(0));
}

/** Each section is measured twice, its name with a zero byte and its content. */
function differentSection(
  log: EventLog,
  uki: readonly { readonly section: string; readonly digest: string }[],
  bank: TpmHash,
): UnknownRecord | 'none' {
  const expected = uki.flatMap(({ section, digest }) => [
    bank.digest(concatBytes(toUtf8(section), Uint8Array.of(0))),
    fromHex(digest, section),
  ]);
  const difference = firstDifference(log, bank, UKI_PCR, expected);
  if (difference === undefined) return 'none';
  const { index, ...digests } = difference;
  const section = uki.find((one) => one.digest === digests.expected)?.section;
  const place = index === undefined ? 'at the end of the log' : `record ${index}`;
  return { place: section === undefined ? place : `${place}, ${section}`, ...digests };
}
