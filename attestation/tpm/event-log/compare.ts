/**
 * A log against the registers that a TPM signed, and against the digests that a boot should have left: where they part, the
 * first record that differs is what a person wants to know.
 */

import { equalBytes, toHex } from '../../core/bytes.ts';
import { defineChecks } from '../../core/verdict.ts';
import type { Checklist } from '../../core/verdict.ts';
import type { TpmHash } from '../hash.ts';
import type { EventLog } from './read.ts';
import { replayEventLog } from './replay.ts';
import { EventType } from './event-types.ts';

export const eventLogChecks = defineChecks('inauthentic', {
  'event-log-replay': {
    means: 'A boot event log does not lead to the register values that the TPM signed.',
    hint: 'Send the log of the present boot, whole and unaltered; a log that grows is read before the quote is made.',
    protects: 'A log that somebody wrote would be believed.',
  },
});

/**
 * Demands that the log explains each register that was quoted and is relied on.
 *
 * @param quoted values from an authentic quote, by register
 * @param pcrs the registers that are relied on; each has to be among the quoted ones
 * @throws RefusalError `event-log-replay`, `event-log-bank`, `event-log-locality`
 */
export function demandReplay(
  log: EventLog,
  bank: TpmHash,
  quoted: ReadonlyMap<number, Uint8Array>,
  pcrs: readonly number[],
  checks: Checklist,
): void {
  const replayed = replayEventLog(log, bank.algorithm);
  for (const pcr of pcrs) {
    const [expected, found] = [quoted.get(pcr), replayed.get(pcr)];
    const isSame = expected !== undefined && found !== undefined && equalBytes(expected, found);
    checks.demand(eventLogChecks, 'event-log-replay', isSame, {
      field: `eventLog PCR ${pcr}`,
      expected: expected === undefined ? 'a quoted register' : toHex(expected),
      found: found === undefined ? 'no record' : toHex(found),
    });
  }
}

export interface Difference {
  /** Position in the log, undefined where the log ends too early. */
  readonly index: number | undefined;
  readonly expected: string;
  readonly found: string;
}

/**
 * The first record of a register that is not the one that was expected there.
 *
 * @param expected digests in the order in which the register is extended with them
 * @returns undefined when the log has exactly these
 */
export function firstDifference(
  { events }: EventLog,
  bank: TpmHash,
  pcr: number,
  expected: readonly Uint8Array[],
): Difference | undefined {
  const records = events.flatMap((event, index) =>
    event.pcr === pcr && event.type !== EventType.noAction ? [{ event, index }] : [],
  );
  for (let i = 0; i < Math.max(records.length, expected.length); i += 1) {
    const found = records[i]?.event.digests.get(bank.algorithm);
    const wanted = expected[i];
    if (found !== undefined && wanted !== undefined && equalBytes(found, wanted)) continue;
    return {
      index: records[i]?.index,
      expected: wanted === undefined ? 'nothing more' : toHex(wanted),
      found: found === undefined ? 'nothing more' : toHex(found),
    };
  }
  return undefined;
}
