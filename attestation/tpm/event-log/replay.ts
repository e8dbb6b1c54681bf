/**
 * Replay of a boot event log in one bank (TCG "PC Client Platform Firmware Profile", sections 3.3.4 and 10.4): which
 * values the registers have if the log is whole and true.
 */

import { sha1 } from '@noble/hashes/legacy.js';
import { sha256, sha384, sha512 } from '@noble/hashes/sha2.js';
import type { CHash } from '@noble/hashes/utils.js';

import { concatBytes, equalBytes, toUtf8 } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { Algorithm } from '../layout.ts';
import { EventType } from './event-types.ts';
import type { EventLog, LoggedEvent } from './read.ts';

export const replayRefusals = defineRefusals('malformed', {
  'event-log-bank': {
    means: 'A boot event log cannot be replayed in the bank that is wanted.',
    hint: 'Quote a bank for which the firmware keeps digests, SHA-256 or SHA-384.',
  },
  'event-log-locality': {
    means: 'A boot event log says more than once, or too late, at which locality the TPM was started.',
    hint: 'The log was altered: that record comes before anything is measured into PCR 0.',
  },
});

/**
 * SHA-1 is here because old logs have nothing else and tools show them. No verdict rests on it: quotes of that bank are
 * refused before (hash.ts).
 */
const BANKS: ReadonlyMap<number, CHash> = new Map([
  [Algorithm.sha1, sha1],
  [Algorithm.sha256, sha256],
  [Algorithm.sha384, sha384],
  [Algorithm.sha512, sha512],
]);

const STARTUP_LOCALITY = toUtf8('StartupLocality\0');
/** What an H-CRTM leaves in the last byte of PCR 0. */
const HCRTM_LOCALITY = 4;
/** Registers of a dynamic launch begin with all bits set. */
const DYNAMIC = { first: 17, last: 22 } as const;

/**
 * Values by register; those that no record extends are left out.
 *
 * @param algorithm TPM_ALG_ID of the bank
 * @throws RefusalError `event-log-bank`, `event-log-locality`
 */
export function replayEventLog(log: EventLog, algorithm: number): ReadonlyMap<number, Uint8Array> {
  const hash = BANKS.get(algorithm);
  if (hash === undefined || !log.algorithms.includes(algorithm)) {
    refuseBank(algorithm, log.algorithms.map((known) => `0x${known.toString(16)}`).join(', '));
  }
  const registers = new Map<number, Uint8Array>();
  const locality = startupLocality(log);
  for (const [index, { pcr, type, digests }] of log.events.entries()) {
    if (type === EventType.noAction) continue;
    const digest = digests.get(algorithm) ?? refuseBank(algorithm, `none in record ${index}`);
    const before = registers.get(pcr) ?? initialValue(pcr, hash.outputLen, locality);
    registers.set(pcr, hash(concatBytes(before, digest)));
  }
  return registers;
}

function refuseBank(algorithm: number, found: string): never {
  throw replayRefusals.error('event-log-bank', {
    field: 'eventLog',
    expected: `digests of 0x${algorithm.toString(16)} in each record that extends a register`,
    found,
  });
}

/** What a register holds before anything was measured into it. */
function initialValue(pcr: number, bytes: number, locality: number): Uint8Array {
  const isDynamic = pcr >= DYNAMIC.first && pcr <= DYNAMIC.last;
  const value = new Uint8Array(bytes).fill(isDynamic ? 0xff : 0);
  if (pcr === 0) value[bytes - 1] = locality;
  return value;
}

/**
 * The locality at which the TPM was started: what the record of that name says, 4 where an H-CRTM measured before, else 0.
 *
 * @throws RefusalError `event-log-locality`
 */
export function startupLocality({ events }: EventLog): number {
  const declared = events.flatMap((event, index) => (declaresLocality(event) ? [{ event, index }] : []));
  const firstMeasured = events.findIndex(({ pcr, type }) => pcr === 0 && type !== EventType.noAction);
  const [only] = declared;
  const isLate = only !== undefined && firstMeasured >= 0 && only.index > firstMeasured;
  if (declared.length > 1 || isLate) {
    throw replayRefusals.error('event-log-locality', {
      field: 'eventLog',
      expected: 'at most one record of the startup locality, before PCR 0 is extended',
      found: isLate ? `one at ${only.index}, after record ${firstMeasured}` : `${declared.length} records`,
    });
  }
  if (only !== undefined) return only.event.data[STARTUP_LOCALITY.length] ?? 0;
  return events[firstMeasured]?.type === EventType.efiHcrtmEvent ? HCRTM_LOCALITY : 0;
}

function declaresLocality({ pcr, type, data }: LoggedEvent): boolean {
  const isRecord = pcr === 0 && type === EventType.noAction && data.length === STARTUP_LOCALITY.length + 1;
  return isRecord && equalBytes(data.subarray(0, STARTUP_LOCALITY.length), STARTUP_LOCALITY);
}
