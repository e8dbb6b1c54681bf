/**
 * A boot event log as the story of a boot: what the firmware did, each image that it then started with what was measured
 * while that ran, and the hand-over to the system. Where a record stands is proven by no digest: the order across
 * registers, and the types by which records are told apart, are as the log has them.
 */

import { fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { EventType } from '../../attestation/tpm/event-log/event-types.ts';
import type { EventLog, LoggedEvent } from '../../attestation/tpm/event-log/read.ts';
import type { TpmHash } from '../../attestation/tpm/hash.ts';
import { eventText, extendingLines, type EventLine } from './event-log-tree.ts';

export interface BootPhase {
  readonly name: string;
  readonly events: readonly EventLine[];
}

/** Registers that the firmware closes with a separator. */
const FIRMWARE_PCRS = 8;
const IMAGES: ReadonlySet<number> = new Set([
  EventType.efiBootServicesApplication,
  EventType.efiBootServicesDriver,
  EventType.efiRuntimeServicesDriver,
]);

/** Phases in their order; one without records is left out. */
export function bootPhases(log: EventLog, bank: TpmHash): readonly BootPhase[] {
  const names = phaseNames(log.events, bank);
  const phases: { name: string; events: EventLine[] }[] = [];
  for (const line of extendingLines(log, bank)) {
    const name = names[line.index] ?? '';
    const current = phases.at(-1);
    if (current?.name === name) current.events.push(line);
    else phases.push({ name, events: [line] });
  }
  return phases;
}

/** The name of the phase that each record belongs to. */
function phaseNames(events: readonly LoggedEvent[], bank: TpmHash): readonly string[] {
  const boundary = events.findLastIndex(
    ({ pcr, type }) => type === EventType.separator && pcr < FIRMWARE_PCRS,
  );
  let name = 'firmware';
  let images = 0;
  return events.map((event, index) => {
    if (index <= boundary) return name;
    if (index === boundary + 1) name = 'boot option';
    if (isExit(event)) name = 'hand-over to the system';
    else if (IMAGES.has(event.type)) {
      images += 1;
      name = `image ${images}, ${toHex(event.digests.get(bank.algorithm) ?? new Uint8Array(0)).slice(0, 16)}…`;
    }
    return name;
  });
}

function isExit({ type, data }: LoggedEvent): boolean {
  if (type !== EventType.efiAction) return false;
  try {
    return fromUtf8(data, 'event').startsWith('Exit Boot Services');
  } catch (error) {
    if (isRefusal(error)) return false;
    throw error;
  }
}

/** Each phase with how much of it digests cover, and its records. */
export function phaseLines(phases: readonly BootPhase[]): readonly string[] {
  return phases.flatMap(({ name, events }) => {
    const covered = events.filter(({ covers }) => covers !== 'nothing').length;
    return [
      `${name}: ${events.length} records, ${covered} covered by their digests`,
      ...events.map((line) => eventText(line).replace(/^( {2}\[[0-9]+\])/, `$1 PCR ${line.pcr}`)),
    ];
  });
}
