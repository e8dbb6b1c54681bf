/**
 * What boot loaders and kernel stubs measured into PCR 8, 9 and 12: commands, command lines, and the files that they read. A file
 * and a text are told apart by nothing that is proven, and GRUB's command lines from its commands neither; so all records
 * of the three registers are judged by one list.
 */

import { toHex } from '../../core/bytes.ts';
import { EventType } from '../event-log/event-types.ts';
import { textOfBytes } from './command-line.ts';
import { refuseRecord } from './records.ts';
import type { BootRecord } from './records.ts';

export const LOADER_REGISTERS = [8, 9, 12] as const;

/** Types that GRUB, shim, systemd-boot, systemd-stub and Linux write. */
const TYPES: ReadonlySet<number> = new Set([EventType.ipl, EventType.eventTag]);

export interface LoaderRecord {
  readonly index: number;
  readonly pcr: number;
  /** Lower-case hex. */
  readonly digest: string;
  /** What was measured, where the log shows it and it is text; undefined for files. */
  readonly text: string | undefined;
}

/** @throws RefusalError `tpm-boot-record` */
export function readLoaderRecords(records: readonly BootRecord[], pcr: number): readonly LoaderRecord[] {
  return records.map((record) => {
    if (!TYPES.has(record.type)) return refuseRecord(record, pcr, 'EV_IPL or EV_EVENT_TAG');
    const { index, digest, covered } = record;
    const text = covered === undefined ? undefined : textOfBytes(covered);
    return { index, pcr, digest: toHex(digest), text };
  });
}
