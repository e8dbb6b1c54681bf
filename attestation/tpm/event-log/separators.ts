/**
 * Separators: the firmware puts one into each of PCR 0 to 7 when it hands over to what it starts (TCG "PC Client Platform
 * Firmware Profile", section 10.4.5). What stands behind one in these registers is no longer the firmware's.
 */

import { equalBytes } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import { coverageOf } from './coverage.ts';
import { EventType } from './event-types.ts';
import type { EventLog, LoggedEvent } from './read.ts';

export const separatorRefusals = defineRefusals('inauthentic', {
  'event-log-separator': {
    means: 'A register of the firmware has no separator, several, or one that tells of an error.',
    hint: 'The firmware failed to measure, or somebody measured in its place; look at the machine and boot it again.',
  },
});

const FIRMWARE_PCRS = 8;
const BOUNDARIES = [Uint8Array.of(0, 0, 0, 0), Uint8Array.of(0xff, 0xff, 0xff, 0xff)] as const;

/** Whether a separator ends the firmware's part in good order. Its digest has to cover what it says. */
export function isBoundary(event: LoggedEvent, bank: TpmHash): boolean {
  const isGood = BOUNDARIES.some((boundary) => equalBytes(boundary, event.data));
  return event.type === EventType.separator && isGood && coverageOf(event, bank).covers === 'event';
}

/**
 * Demands exactly one in each of the firmware's registers among those that are relied on. A register without one could
 * be extended by anybody with what the firmware would have measured.
 *
 * @throws RefusalError `event-log-separator`
 */
export function demandSeparators({ events }: EventLog, bank: TpmHash, pcrs: readonly number[]): void {
  for (const pcr of pcrs.filter((number) => number < FIRMWARE_PCRS)) {
    const found = events.filter((event) => event.pcr === pcr && event.type === EventType.separator);
    const [only] = found;
    if (found.length === 1 && only !== undefined && isBoundary(only, bank)) continue;
    throw separatorRefusals.error('event-log-separator', {
      field: `eventLog PCR ${pcr}`,
      expected: 'one separator of 00000000 or FFFFFFFF that its digest covers',
      found: `${found.length} separators`,
    });
  }
}
