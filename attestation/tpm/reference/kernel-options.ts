/**
 * What is measured of a kernel's command line and initrd outside a unified kernel image: by systemd-boot and systemd-stub
 * into PCR 12 (systemd, docs/TPM2_PCR_MEASUREMENTS.md), by the EFI stub of Linux into PCR 9
 * (drivers/firmware/efi/libstub/efi-stub-helper.c).
 */

import { concatBytes } from '../../core/bytes.ts';
import { utf16Bytes } from '../event-log/uefi-variable.ts';
import type { TpmHash } from '../hash.ts';
import { measure } from './events.ts';
import type { ExpectedEvent } from './events.ts';

const STUB_PCR = 9;
const COMMAND_LINE_PCR = 12;
const TERMINATOR = new Uint8Array(2);

/**
 * systemd measures a command line that came from outside the image as UTF-16 with a zero behind it.
 *
 * @param lines each as often as it is measured: systemd-boot and the stub both do
 */
export function expectCommandLines(lines: readonly string[], bank: TpmHash): readonly ExpectedEvent[] {
  return lines.map((line) =>
    measure(COMMAND_LINE_PCR, 'command line from outside', concatBytes(utf16Bytes(line), TERMINATOR), bank),
  );
}

/** What starts a kernel and how it ends the options that it hands over: GRUB without a zero, systemd with one. */
export type OptionsForm = 'grub' | 'systemd';

/**
 * @param options as the kernel's EFI stub is given them, null where this kernel measures none
 * @param initrd as it is handed over, all parts together, null where there is none
 */
export function expectKernelInputs(
  options: string | null,
  form: OptionsForm,
  initrd: Uint8Array | null,
  bank: TpmHash,
): readonly ExpectedEvent[] {
  const events: ExpectedEvent[] = [];
  if (options !== null) {
    const bytes = concatBytes(utf16Bytes(options), form === 'systemd' ? TERMINATOR : new Uint8Array(0));
    events.push(measure(STUB_PCR, 'options of the kernel', bytes, bank));
  }
  if (initrd !== null) events.push(measure(STUB_PCR, 'initrd', initrd, bank));
  return events;
}
