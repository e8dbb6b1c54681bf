/**
 * Canonical XML 1.1 (W3C, inclusive, without comments) of the trees of xml.ts. That reader refuses what the rest of the
 * recommendation is about: attributes of the namespace `xml`, processing instructions, namespaces that are taken back.
 */

import { toUtf8 } from '../../core/bytes.ts';
import type { XmlAttribute, XmlElement } from './xml.ts';

/** Namespaces in scope, by prefix. */
export type NamespaceScope = ReadonlyMap<string, string>;

const NO_NAMESPACES: NamespaceScope = new Map();

/**
 * The canonical form of an element and all that it holds.
 *
 * @param inherited what is in scope where the element stands: the first tag declares it (section 2.3 of the recommendation)
 */
export function canonicalXml(element: XmlElement, inherited: NamespaceScope = NO_NAMESPACES): Uint8Array {
  const apex = { ...element, declarations: new Map([...inherited, ...element.declarations]) };
  const parts: string[] = [];
  write(apex, NO_NAMESPACES, parts);
  return toUtf8(parts.join(''));
}

/** @param rendered what the tags around this one have declared */
function write(element: XmlElement, rendered: NamespaceScope, parts: string[]): void {
  const { qualifiedName, declarations, attributes, content } = element;
  const added = [...declarations].filter(([prefix, namespace]) => rendered.get(prefix) !== namespace);
  parts.push('<', qualifiedName);
  for (const [prefix, namespace] of added.toSorted(([left], [right]) => compare(left, right))) {
    const name = prefix === '' ? 'xmlns' : `xmlns:${prefix}`;
    parts.push(' ', name, '="', escapeAttribute(namespace), '"');
  }
  for (const attribute of attributes.toSorted(byNamespaceAndName)) {
    parts.push(' ', attribute.qualifiedName, '="', escapeAttribute(attribute.value), '"');
  }
  parts.push('>');
  const inScope = added.length === 0 ? rendered : new Map([...rendered, ...added]);
  for (const item of content) {
    if (typeof item === 'string') parts.push(escapeText(item));
    else write(item, inScope, parts);
  }
  parts.push('</', qualifiedName, '>');
}

/** By code points, which for the ASCII of names and namespaces is what `<` compares. */
function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}

function byNamespaceAndName(left: XmlAttribute, right: XmlAttribute): number {
  return compare(left.namespace, right.namespace) || compare(left.localName, right.localName);
}

function escapeText(text: string): string {
  return text
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('>', '&gt;')
    .replaceAll('\r', '&#xD;');
}

function escapeAttribute(value: string): string {
  return value
    .replaceAll('&', '&amp;')
    .replaceAll('<', '&lt;')
    .replaceAll('"', '&quot;')
    .replaceAll('\t', '&#x9;')
    .replaceAll('\n', '&#xA;')
    .replaceAll('\r', '&#xD;');
}
