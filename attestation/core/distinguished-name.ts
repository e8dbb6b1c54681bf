/** Names in certificates (RFC 5280 section 4.1.2.4), as far as a profile demands something of them. */

import { contentOf, objectIdentifierOf, readElement, Tag, textOf } from './der.ts';
import { certificateRefusals } from './x509.ts';

/** Types of attributes (X.520). */
export const NameAttribute = { commonName: '2.5.4.3', organizationName: '2.5.4.10' } as const;

/**
 * The attributes of a Name by type, in dotted form.
 *
 * @param name the encoded Name, as `Certificate.subject` and `issuer` hold it
 * @throws RefusalError `certificate-name` when an attribute stands there twice, `der-*`
 */
export function nameAttributes(name: Uint8Array, path: string): ReadonlyMap<string, string> {
  const attributes = new Map<string, string>();
  const rdns = contentOf(readElement(name, Tag.sequence, path));
  while (!rdns.isAtEnd) {
    const rdn = contentOf(rdns.next(Tag.set, 'rdn'));
    while (!rdn.isAtEnd) {
      const attribute = contentOf(rdn.next(Tag.sequence, 'attribute'));
      const type = objectIdentifierOf(attribute.next(Tag.objectIdentifier, 'type'));
      const text = textOf(attribute.any('value'));
      attribute.end();
      if (attributes.has(type)) {
        throw certificateRefusals.error('certificate-name', {
          field: path,
          expected: 'each attribute once',
          found: `${type} twice`,
        });
      }
      attributes.set(type, text);
    }
  }
  return attributes;
}
