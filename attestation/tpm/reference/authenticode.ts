/**
 * The digest that firmware measures of an image, and that its signature signs (Microsoft "Windows Authenticode Portable
 * Executable Signature Format", "Calculating the PE Image Hash"; TCG PC Client Platform Firmware Profile, section 3.3.4.5).
 */

import type { TpmHash } from '../hash.ts';
import type { PeImage } from './pe.ts';

export function authenticodeDigest({ digested }: PeImage, bank: TpmHash): Uint8Array {
  const hash = bank.digest.create();
  for (const part of digested) hash.update(part);
  return hash.digest();
}
