/**
 * What was started, by PCR 4 (TCG "PC Client Platform Firmware Profile", section 3.3.4.5): Authenticode digests of images, in the
 * order in which the firmware and the loaders started them.
 */

import { toHex } from '../../core/bytes.ts';
import { EventType } from '../event-log/event-types.ts';
import { textOfBytes } from './command-line.ts';
import { refuseRecord } from './records.ts';
import type { BootRecord } from './records.ts';

const PCR = 4;
const IMAGES: ReadonlySet<number> = new Set([
  EventType.efiBootServicesApplication,
  EventType.efiBootServicesDriver,
  EventType.efiRuntimeServicesDriver,
]);
/** What the firmware says of its own doing. */
const REMARKS: ReadonlySet<number> = new Set([
  EventType.action,
  EventType.efiAction,
  EventType.omitBootDeviceEvents,
]);

/** The bytes of a small image would be covered as well, if somebody wrote them into the log in place of a remark. */
function isRemark({ type, covered }: BootRecord): boolean {
  return (
    REMARKS.has(type) && covered !== undefined && /^[\x20-\x7e]{1,128}$/.test(textOfBytes(covered) ?? '')
  );
}

/** @throws RefusalError `tpm-boot-record` */
export function readImages(records: readonly BootRecord[]): readonly string[] {
  const boundary = records.findIndex(({ type }) => type === EventType.separator);
  return records.flatMap((record, i) => {
    if (i === boundary || isRemark(record)) return [];
    if (i > boundary && IMAGES.has(record.type)) return [toHex(record.digest)];
    return refuseRecord(record, PCR, 'images after the separator, and remarks that their digests cover');
  });
}
