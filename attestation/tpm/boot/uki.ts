/**
 * What systemd-stub measured of a unified kernel image into PCR 11 (systemd, "TPM2 PCR Measurements"): for each section its name
 * with a final zero, then its content. The name is proven by its digest and not by what the log says of it.
 */

import { concatBytes, equalBytes, toHex, toUtf8 } from '../../core/bytes.ts';
import type { TpmHash } from '../hash.ts';
import { bootRecordRefusals } from './records.ts';
import type { BootRecord } from './records.ts';

/** Sections in the order in which systemd-stub measures them (systemd, src/fundamental/uki.h). */
export const UKI_SECTIONS = [
  '.profile',
  '.linux',
  '.osrel',
  '.cmdline',
  '.initrd',
  '.ucode',
  '.splash',
  '.dtb',
  '.uname',
  '.sbat',
  '.pcrpkey',
  '.dtbauto',
  '.hwids',
  '.efifw',
] as const;
export type UkiSection = (typeof UKI_SECTIONS)[number];

/** What userspace extends PCR 11 with while it starts and stops, in this order (systemd-pcrphase). */
const PHASES = ['enter-initrd', 'leave-initrd', 'sysinit', 'ready', 'shutdown', 'final'] as const;

export interface MeasuredSection {
  /** Name as in the image. */
  readonly section: UkiSection;
  /** Of its content, in the bank; lower-case hex. */
  readonly digest: string;
}

/** @throws RefusalError `tpm-boot-record` */
export function readUkiSections(records: readonly BootRecord[], bank: TpmHash): readonly MeasuredSection[] {
  const names = new Map(
    UKI_SECTIONS.map((section) => [toHex(bank.digest(toUtf8(`${section}\0`))), section] as const),
  );
  return records.flatMap(({ index, digest }, i) => {
    if (i % 2 === 1) return [];
    const section = names.get(toHex(digest));
    const content = records[i + 1];
    if (section !== undefined && content !== undefined) return [{ section, digest: toHex(content.digest) }];
    throw bootRecordRefusals.error('tpm-boot-record', {
      field: `eventLog[${index}]`,
      expected: 'the name of a section, and its content behind it',
      found: section === undefined ? `digest ${toHex(digest)}` : `${section} and nothing more`,
    });
  });
}

/**
 * How far userspace has come, where the quoted value is what the log leads to and what userspace extends besides.
 *
 * @returns the last phase that was entered, `start` before the first, undefined where the value is another
 */
export function bootPhase(replayed: Uint8Array, quoted: Uint8Array, bank: TpmHash): string | undefined {
  let value = replayed;
  if (equalBytes(value, quoted)) return 'start';
  for (const phase of PHASES) {
    value = bank.digest(concatBytes(value, bank.digest(toUtf8(phase))));
    if (equalBytes(value, quoted)) return phase;
  }
  return undefined;
}
