/** XML in its canonical form (Canonical XML 1.1), so that what is signed are the very characters of the document. */

/** Prefixes and what they stand for; the empty prefix is the default namespace. */
export type Namespaces = Readonly<Record<string, string>>;

export interface XmlAttribute {
  /** The prefix, which is declared on this element or above; undefined for none. */
  readonly prefix?: string;
  readonly name: string;
  readonly value: string;
}

export interface XmlElement {
  /** With its prefix. */
  readonly name: string;
  /** Declared here. */
  readonly namespaces?: Namespaces;
  readonly attributes?: readonly XmlAttribute[];
  /** Written already, in order. */
  readonly content?: readonly string[];
}

/** Attributes without a namespace, by their names. */
export function plainAttributes(values: Readonly<Record<string, string>>): readonly XmlAttribute[] {
  return Object.entries(values).map(([name, value]) => ({ name, value }));
}

/**
 * Writes an element.
 *
 * @param inScope the declarations above, by which attributes with a prefix are sorted
 */
export function xmlElement(element: XmlElement, inScope: Namespaces = {}): string {
  const { name, namespaces = {}, attributes = [], content = [] } = element;
  const known = { ...inScope, ...namespaces };
  const declarations = Object.keys(namespaces)
    .sort()
    .map((prefix) => ` xmlns${prefix && ':'}${prefix}="${escaped(namespaces[prefix] ?? '', ATTRIBUTE)}"`);
  const written = [...attributes]
    .sort((left, right) => compare(sortKey(left, known), sortKey(right, known)))
    .map((attribute) => ` ${qualified(attribute)}="${escaped(attribute.value, ATTRIBUTE)}"`);
  return `<${name}${declarations.join('')}${written.join('')}>${content.join('')}</${name}>`;
}

export function xmlText(text: string): string {
  return escaped(text, TEXT);
}

const TEXT = /[&<>\r]/g;
const ATTRIBUTE = /[&<"\t\n\r]/g;
const REFERENCES: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  '"': '&quot;',
  '\t': '&#x9;',
  '\n': '&#xA;',
  '\r': '&#xD;',
};

function escaped(text: string, special: RegExp): string {
  return text.replace(special, (character) => REFERENCES[character] ?? character);
}

function qualified({ prefix, name }: XmlAttribute): string {
  return prefix === undefined ? name : `${prefix}:${name}`;
}

/** Namespace, then local name; a space is in neither. */
function sortKey({ prefix, name }: XmlAttribute, namespaces: Namespaces): string {
  return `${prefix === undefined ? '' : (namespaces[prefix] ?? '')} ${name}`;
}

function compare(left: string, right: string): number {
  if (left === right) return 0;
  return left < right ? -1 : 1;
}
