/**
 * How certificates name a TPM: manufacturer, model and version as attributes of a directoryName in the subjectAltName
 * (TCG "EK Credential Profile for TPM Family 2.0", section 3.2.9; the same in AK certificates).
 */

import { contentOf, contextTag, objectIdentifierOf, readElement, Tag, textOf } from '../core/der.ts';
import type { DerElement } from '../core/der.ts';

/** Types of the attributes. */
export const TpmAttribute = {
  manufacturer: '2.23.133.2.1',
  model: '2.23.133.2.2',
  version: '2.23.133.2.3',
} as const;

/** The attributes of the directoryNames in a SubjectAltName. One that stands there twice names nothing. @throws RefusalError `der-*` */
export function directoryNames(value: Uint8Array): ReadonlyMap<string, string> {
  const names = new Map<string, string>();
  const general = contentOf(readElement(value, Tag.sequence, 'subjectAltName'));
  while (!general.isAtEnd) {
    const name = general.any('generalName');
    if (name.tag !== contextTag(4, 'constructed')) continue;
    const wrapper = contentOf(name);
    const rdns = contentOf(wrapper.next(Tag.sequence, 'directoryName'));
    wrapper.end();
    while (!rdns.isAtEnd) readRelativeName(rdns.next(Tag.set, 'rdn'), names);
  }
  return names;
}

/** Vendors write one multi-valued RDN or several, and not always in the order of DER: their order is left open. */
function readRelativeName(element: DerElement, names: Map<string, string>): void {
  const rdn = contentOf(element);
  while (!rdn.isAtEnd) {
    const attribute = contentOf(rdn.next(Tag.sequence, 'attribute'));
    const identifier = objectIdentifierOf(attribute.next(Tag.objectIdentifier, 'type'));
    const text = textOf(attribute.any('value'));
    attribute.end();
    names.set(identifier, names.has(identifier) ? '' : text);
  }
}
