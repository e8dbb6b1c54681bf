/** Writing the few DER elements that a question to a responder is made of. */

import { concatBytes } from '../../core/bytes.ts';

/** One element around what was encoded already. @param parts at most 65535 bytes together */
export function encodeDer(tag: number, ...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const content = concatBytes(...parts);
  return concatBytes(Uint8Array.of(tag, ...lengthOctets(content.length)), content);
}

/** X.690 section 10.1: the definite form in its shortest encoding. */
function lengthOctets(length: number): readonly number[] {
  if (length < 0x80) return [length];
  if (length <= 0xff) return [0x81, length];
  if (length <= 0xffff) return [0x82, length >> 8, length & 0xff];
  throw new RangeError(`an element of ${length} bytes`);
}
