/**
 * Versions of drivers and of the firmware on the board (VBIOS) as reports give them, and their order. A version is
 * compared number by number; texts of another form are no versions.
 */

import { excerpt } from '../core/bytes.ts';
import { defineRefusals } from '../core/refusal.ts';

export const versionRefusals = defineRefusals('malformed', {
  'gpu-version': {
    means: 'A version of a driver or VBIOS is not of the form that NVIDIA writes.',
    hint: 'Drivers have two or three decimal numbers, as 550.90.07; a VBIOS has five hexadecimal ones, as 96.00.9F.00.01.',
  },
});

/** For example `550.90.07`. Leading zeros belong to the version: RIM identifiers are made of the text. */
const DRIVER_VERSION = /^[0-9]{1,4}(?:\.[0-9]{1,4}){1,3}$/;
/** For example `96.00.9F.00.01`. */
const VBIOS_VERSION = /^[0-9A-F]{2}(?:\.[0-9A-F]{2}){4}$/;

/** @throws RefusalError `gpu-version` */
export function driverVersion(text: string, field: string): string {
  return checked(text, DRIVER_VERSION, 'decimal numbers with points', field);
}

/** @throws RefusalError `gpu-version` */
export function vbiosVersion(text: string, field: string): string {
  return checked(text, VBIOS_VERSION, 'five pairs of upper-case hexadecimal digits', field);
}

function checked(text: string, form: RegExp, expected: string, field: string): string {
  if (form.test(text)) return text;
  throw versionRefusals.error('gpu-version', { field, expected, found: excerpt(text) });
}

/**
 * The text of a GPU's VBIOS version from its 8 bytes: the second half in reverse, then the last byte of the first half.
 * The three bytes that do not count are zero on every known GPU and may not be anything else.
 *
 * @throws RefusalError `gpu-version`
 */
export function vbiosVersionOf(bytes: Uint8Array, field: string): string {
  const reversed = bytes.toReversed();
  const hex = (byte: number | undefined): string => (byte ?? 0).toString(16).toUpperCase().padStart(2, '0');
  const isPlain = bytes.length === 8 && reversed.subarray(0, 3).every((byte) => byte === 0);
  const parts = [...reversed.subarray(4), reversed[3]].map(hex);
  return vbiosVersion(isPlain ? parts.join('.') : `${bytes.length} bytes ${parts.join('.')}`, field);
}

/** The 8 bytes that {@link vbiosVersionOf} reads. @throws RefusalError `gpu-version` */
export function vbiosVersionBytes(version: string, field = 'vbiosVersion'): Uint8Array {
  const parts = vbiosVersion(version, field)
    .split('.')
    .map((part) => Number.parseInt(part, 16));
  return Uint8Array.from([...parts.slice(0, 4).reverse(), parts[4] ?? 0, 0, 0, 0]);
}

/** Whether a driver version is older than another; a missing number counts as zero. */
export function isDriverBelow(version: string, minimum: string): boolean {
  return isBelow(version, minimum, 10);
}

/** Whether a VBIOS version is older than another. */
export function isVbiosBelow(version: string, minimum: string): boolean {
  return isBelow(version, minimum, 16);
}

function isBelow(version: string, minimum: string, radix: number): boolean {
  const [found, wanted] = [version, minimum].map((text) =>
    text.split('.').map((part) => Number.parseInt(part, radix)),
  ) as [number[], number[]];
  for (let i = 0; i < Math.max(found.length, wanted.length); i += 1) {
    const difference = (found[i] ?? 0) - (wanted[i] ?? 0);
    if (difference !== 0) return difference < 0;
  }
  return false;
}
