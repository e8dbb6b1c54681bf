/**
 * Declared shapes of XML elements, in the way of core/json-shape.ts: which attributes and which elements stand in an element,
 * each with a rule for its value. What is not declared is refused with its path (W11).
 */

import { excerpt } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { elementsIn, isWhiteSpace, textIn } from './xml.ts';
import type { XmlElement } from './xml.ts';

export const xmlShapeRefusals = defineRefusals('malformed', {
  'rim-element': {
    means: 'A reference manifest lacks an element or has one that its format does not know.',
    hint: 'The file is another document, or of a format that is newer than this release.',
  },
  'rim-attribute': {
    means: 'A reference manifest lacks an attribute or has one that its format does not know.',
    hint: 'The file is another document, or of a format that is newer than this release.',
  },
  'rim-value': {
    means: 'A value in a reference manifest is outside its limits.',
    hint: 'The file is another document, or of a format that is newer than this release.',
  },
});

/** Attributes by name; a value is what the whole text must match. */
export type AttributeTable = Readonly<Record<string, RegExp>>;

/**
 * The elements below one, which must be exactly the named ones, in this order, with nothing but white space around them.
 *
 * @throws RefusalError `rim-element`
 */
export function elementsOf<const Names extends readonly string[]>(
  element: XmlElement,
  path: string,
  names: Names,
): { readonly [Place in keyof Names]: XmlElement } {
  const found = elementsIn(element);
  const isAsNamed = found.length === names.length && found.every(({ name }, i) => name === names[i]);
  if (isAsNamed && isWhiteSpace(textIn(element))) {
    return found as { readonly [Place in keyof Names]: XmlElement };
  }
  throw badElement(path, names.join(', ') || 'an empty element', found);
}

/** Any number of elements of one name. @throws RefusalError `rim-element` */
export function elementsNamed(element: XmlElement, path: string, name: string): readonly XmlElement[] {
  const names = elementsIn(element).map(() => name);
  return elementsOf(element, path, names);
}

/** The text of an element that holds nothing else. @throws RefusalError `rim-element` */
export function textOf(element: XmlElement, path: string): string {
  const found = elementsIn(element);
  if (found.length === 0) return textIn(element);
  throw badElement(path, 'text', found);
}

function badElement(field: string, expected: string, found: readonly XmlElement[]): Error {
  return xmlShapeRefusals.error('rim-element', {
    field,
    expected,
    found: excerpt(found.map(({ name }) => name).join(', ') || 'text or nothing'),
  });
}

/**
 * Reads the attributes: all of the one table, any of the other, and no more.
 *
 * @throws RefusalError `rim-attribute`, `rim-value`
 */
export function attributesOf<Required extends AttributeTable, Optional extends AttributeTable>(
  element: XmlElement,
  path: string,
  required: Required,
  optional?: Optional,
): Readonly<Record<keyof Required, string>> & Readonly<Partial<Record<keyof Optional, string>>> {
  const values = new Map(element.attributes.map(({ name, value }) => [name, value]));
  const rules: AttributeTable = { ...optional, ...required };
  const missing = Object.keys(required).find((name) => !values.has(name));
  if (missing !== undefined) throw badAttribute(path, Object.keys(rules), `no ${missing}`);
  for (const [name, value] of values) {
    const rule = Object.hasOwn(rules, name) ? rules[name] : undefined;
    if (rule === undefined) throw badAttribute(path, Object.keys(rules), excerpt(name));
    if (rule.test(value)) continue;
    throw xmlShapeRefusals.error('rim-value', {
      field: `${path}@${name}`,
      expected: `a text of the form ${rule.source}`,
      found: excerpt(value),
    });
  }
  return Object.fromEntries(values) as ReturnType<typeof attributesOf<Required, Optional>>;
}

function badAttribute(field: string, names: readonly string[], found: string): Error {
  return xmlShapeRefusals.error('rim-attribute', {
    field,
    expected: `the attributes ${names.join(', ') || '(none)'}`,
    found,
  });
}
