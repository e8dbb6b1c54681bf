/**
 * The public key in an endorsement certificate. Some vendors name its algorithm id-RSAES-OAEP instead of rsaEncryption
 * (RFC 4055, section 4): the numbers are the same, and such a key verifies no signature.
 */

import {
  byteStringOf,
  contentOf,
  objectIdentifierOf,
  readElement,
  smallIntegerOf,
  Tag,
  unsignedIntegerOf,
} from '../core/der.ts';
import { readSubjectPublicKeyInfo, rsaPublicKey } from '../core/public-key.ts';
import type { PublicKey } from '../core/public-key.ts';

const RSAES_OAEP = '1.2.840.113549.1.1.7';

/**
 * Reads the SubjectPublicKeyInfo of an endorsement key.
 *
 * @throws RefusalError `der-*`, `public-key-*`
 */
export function readEndorsementKey(bytes: Uint8Array, path: string): PublicKey {
  const reader = contentOf(readElement(bytes, Tag.sequence, path));
  const algorithm = contentOf(reader.next(Tag.sequence, 'algorithm'));
  const identifier = objectIdentifierOf(algorithm.next(Tag.objectIdentifier, 'algorithm'));
  if (identifier !== RSAES_OAEP) return readSubjectPublicKeyInfo(bytes, path);
  // Which hash the certificate proposes decides nothing: a credential is encrypted as the key's template demands.
  algorithm.optional(Tag.sequence, 'parameters');
  algorithm.end();
  const bits = byteStringOf(reader.next(Tag.bitString, 'subjectPublicKey'));
  reader.end();
  const key = contentOf(readElement(bits, Tag.sequence, `${path}.subjectPublicKey`));
  const modulus = unsignedIntegerOf(key.next(Tag.integer, 'modulus'));
  const exponent = smallIntegerOf(key.next(Tag.integer, 'publicExponent'));
  key.end();
  return rsaPublicKey(modulus, exponent, path);
}
