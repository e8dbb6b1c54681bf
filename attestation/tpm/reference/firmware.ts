/**
 * PCR 4 and PCR 5: what firmware measures when it hands over (TCG "PC Client Platform Firmware Profile", sections 3.3.4.5
 * and 3.3.4.6): that a boot option is tried, the boundary, each image that it loads, the partition table of the disk, and
 * that boot services end.
 */

import { toUtf8 } from '../../core/bytes.ts';
import type { TpmHash } from '../hash.ts';
import { authenticodeDigest } from './authenticode.ts';
import { measure } from './events.ts';
import type { ExpectedEvent } from './events.ts';
import type { PeImage } from './pe.ts';

const APPLICATIONS_PCR = 4;
const CONFIGURATION_PCR = 5;
const BOUNDARY = new Uint8Array(4);

/** The texts of EV_EFI_ACTION, without a zero byte. */
const BOOT_OPTION = 'Calling EFI Application from Boot Option';
const EXIT_ACTIONS = ['Exit Boot Services Invocation', 'Exit Boot Services Returned with Success'] as const;

/** What firmware may leave out; most does not. */
export interface FirmwareHabits {
  /** Says in PCR 4 that it tries a boot option. */
  readonly announcesBootOption: boolean;
  /** Says in PCR 5 that boot services end. */
  readonly announcesExit: boolean;
}

export interface StartedImage {
  /** Its part in the boot, for people. */
  readonly role: string;
  readonly image: PeImage;
}

/** The boundary that firmware puts into each of PCR 0 to 7. */
export function expectSeparator(pcr: number, bank: TpmHash): ExpectedEvent {
  return measure(pcr, 'separator', BOUNDARY, bank);
}

/** @param images in the order in which firmware is asked to load them, by itself, a boot loader or a stub */
export function expectApplications(
  images: readonly StartedImage[],
  { announcesBootOption }: FirmwareHabits,
  bank: TpmHash,
): readonly ExpectedEvent[] {
  const announcement = announcesBootOption
    ? [measure(APPLICATIONS_PCR, BOOT_OPTION, toUtf8(BOOT_OPTION), bank)]
    : [];
  const started = images.map(({ role, image }) => ({
    pcr: APPLICATIONS_PCR,
    kind: 'image' as const,
    what: `image of ${role}`,
    digest: authenticodeDigest(image, bank),
  }));
  return [...announcement, expectSeparator(APPLICATIONS_PCR, bank), ...started];
}

/**
 * @param partitionTable the event of the disk that is started from, null where it has none
 * @param loaderConfiguration content of loader.conf, null where systemd-boot does not measure it
 */
export function expectConfiguration(
  partitionTable: Uint8Array | null,
  loaderConfiguration: Uint8Array | null,
  { announcesExit }: FirmwareHabits,
  bank: TpmHash,
): readonly ExpectedEvent[] {
  const optional = (what: string, bytes: Uint8Array | null): readonly ExpectedEvent[] =>
    bytes === null ? [] : [measure(CONFIGURATION_PCR, what, bytes, bank)];
  const exit = announcesExit ? EXIT_ACTIONS : [];
  return [
    expectSeparator(CONFIGURATION_PCR, bank),
    ...optional('partition table', partitionTable),
    ...optional('loader.conf', loaderConfiguration),
    ...exit.map((text) => measure(CONFIGURATION_PCR, text, toUtf8(text), bank)),
  ];
}
