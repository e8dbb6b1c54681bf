import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { concatBytes, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { isRefusal } from '../../../../attestation/core/refusal.ts';
import { MAX_RIM_BYTES, readXml, textIn } from '../../../../attestation/nvidia-gpu/rim/xml.ts';
import type { XmlElement } from '../../../../attestation/nvidia-gpu/rim/xml.ts';
import { refusalCode } from '../../../support/refusal-code.ts';
import { DS, manifestText, SWID } from './made-manifest.ts';

const read = (text: string): XmlElement => readXml(toUtf8(text), 'rim');
const codeOf = (text: string): string => refusalCode(() => read(text));
/** A root in the namespace of SWID around the text. */
const root = (content: string, attributes = ''): string => `<r xmlns="${SWID}"${attributes}>${content}</r>`;

describe('XML of manifests', () => {
  it('keeps names as written and knows them by their namespace', () => {
    const element = read(root(`<p:a xmlns:p="${DS}" p:b="1" c="2"/>text?`.replace('text?', ' ')));
    const [child] = element.content as readonly XmlElement[];
    expect(element.name).toBe('swid:r');
    expect(child).toMatchObject({ name: 'ds:a', qualifiedName: 'p:a' });
    expect(child?.attributes.map(({ name, value }) => [name, value])).toEqual([
      ['ds:b', '1'],
      ['c', '2'],
    ]);
    expect([...(child?.declarations ?? [])]).toEqual([['p', DS]]);
  });

  it('NR-1: a file of 100 MB is refused at once, before it is read', () => {
    const huge = new Uint8Array(100_000_000);
    expect(refusalCode(() => readXml(huge, 'rim'))).toBe('rim-size');
    const atLimit = root(' '.repeat(MAX_RIM_BYTES - root('').length));
    expect(codeOf(atLimit)).toBe('accepted');
    expect(codeOf(`${atLimit}\n`)).toBe('rim-size');
  });

  it.each([
    ['a declaration', `<?xml version="1.0" encoding="utf-8"?>\n${root('')}`, 'accepted'],
    ['no encoding', `<?xml version='1.0'?>${root('')}`, 'accepted'],
    ['another encoding', `<?xml version="1.0" encoding="ISO-8859-1"?>${root('')}`, 'rim-xml-forbidden'],
    ['UTF-16 by name', `<?xml version="1.0" encoding="UTF-16"?>${root('')}`, 'rim-xml-forbidden'],
    ['XML 1.1', `<?xml version="1.1"?>${root('')}`, 'rim-xml-forbidden'],
    ['a byte-order mark', `\ufeff${root('')}`, 'rim-xml-forbidden'],
    ['nothing', '', 'rim-xml'],
    ['text', 'manifest', 'rim-xml'],
    ['an open element', `<r xmlns="${SWID}">`, 'rim-xml'],
    ['a wrong end', `<r xmlns="${SWID}"></s>`, 'rim-xml'],
    ['two roots', `${root('')}${root('')}`, 'rim-xml'],
    ['text behind the root', `${root('')}x`, 'rim-xml'],
    ['a control character', root('\u0001'), 'rim-xml'],
    ['a reference to one', root('&#1;'), 'rim-xml'],
    ['an unquoted value', root('', ' a=b'), 'rim-xml'],
    ['an unbound prefix', root('<p:a/>'), 'rim-xml'],
  ])('NR-2: %s', (_, text, expected) => {
    expect(codeOf(text)).toBe(expected);
  });

  it('NR-2: bytes that are not UTF-8 are refused', () => {
    const bytes = concatBytes(toUtf8(`<r xmlns="${SWID}">`), Uint8Array.of(0xc3, 0x28), toUtf8('</r>'));
    expect(refusalCode(() => readXml(bytes, 'rim'))).toBe('utf8-malformed');
    const utf16 = Uint8Array.from(Buffer.from(`\ufeff${root('')}`, 'utf16le'));
    expect(refusalCode(() => readXml(utf16, 'rim'))).toBe('utf8-malformed');
  });

  const laughs = Array.from({ length: 9 }, (_, i) => `<!ENTITY l${i + 1} "&l${i};&l${i};&l${i};&l${i};">`);
  it.each([
    [
      'a billion laughs',
      `<!DOCTYPE r [<!ENTITY l0 "ha">${laughs.join('')}]>${root('&l9;')}`,
      'rim-xml-forbidden',
    ],
    [
      'an external entity',
      `<!DOCTYPE r [<!ENTITY e SYSTEM "file:///etc/passwd">]>${root('&e;')}`,
      'rim-xml-forbidden',
    ],
    [
      'a parameter entity',
      `<!DOCTYPE r [<!ENTITY % e SYSTEM "http://example.org/e">%e;]>${root('')}`,
      'rim-xml-forbidden',
    ],
    [
      'a document type alone',
      `<!DOCTYPE r SYSTEM "http://example.org/r.dtd">${root('')}`,
      'rim-xml-forbidden',
    ],
    ['an unknown entity', root('&e;'), 'rim-xml'],
    ['an entity in an attribute', root('', ' a="&e;"'), 'rim-xml'],
    ['the name of a method as an entity', root('&constructor;'), 'rim-xml'],
    ['the entities of XML', root('&lt;&gt;&amp;&quot;&apos;&#65;&#x42;'), 'accepted'],
    ['a processing instruction', root('<?php?>'), 'rim-xml-forbidden'],
    ['one before the root', `<?xml-stylesheet href="x"?>${root('')}`, 'rim-xml-forbidden'],
    ['one behind the root', `${root('')}<?x?>`, 'rim-xml-forbidden'],
    ['a CDATA section', root('<![CDATA[x]]>'), 'rim-xml-forbidden'],
    ['an empty CDATA section', root('<![CDATA[]]>'), 'rim-xml-forbidden'],
  ])('NR-3: %s', (_, text, expected) => {
    expect(codeOf(text)).toBe(expected);
  });

  it.each([
    ['a comment between elements', root('<a/><!-- x --><b/>'), 'accepted'],
    ['a comment around the root', `<!-- x -->${root('')}<!-- y -->`, 'accepted'],
    ['a comment in a value', root('<a>true<!-- x -->false</a>'), 'rim-xml-forbidden'],
    ['a comment before a value', root('<a><!-- x -->false</a>'), 'rim-xml-forbidden'],
    ['text before an element', root('x<a/>'), 'rim-xml-forbidden'],
    ['text behind an element', root('<a/>x'), 'rim-xml-forbidden'],
    ['a space that is no white space of XML', root('<a/>\u00a0'), 'rim-xml-forbidden'],
  ])('NR-4: %s', (_, text, expected) => {
    expect(codeOf(text)).toBe(expected);
  });

  it('NR-4: text is one value, whatever references it is written with', () => {
    const [child] = read(root('<a>x&#121;&amp;\r\nz</a>')).content as readonly XmlElement[];
    expect(child && textIn(child)).toBe('xy&\nz');
  });

  const nested = (depth: number): string => (depth === 0 ? '' : `<a>${nested(depth - 1)}</a>`);
  const attributes = (count: number): string => Array.from({ length: count }, (_, i) => ` a${i}=""`).join('');
  it.each([
    ['8 deep', root(nested(7)), 'accepted'],
    ['9 deep', root(nested(8)), 'rim-xml-limit'],
    ['512 elements', root('<a/>'.repeat(511)), 'accepted'],
    ['513 elements', root('<a/>'.repeat(512)), 'rim-xml-limit'],
    ['64 attributes', root(`<a${attributes(64)}/>`), 'accepted'],
    ['65 attributes', root(`<a${attributes(65)}/>`), 'rim-xml-limit'],
    ['a name that is not ASCII', root('<\u00e9/>'), 'rim-xml-forbidden'],
    ['a long name', root(`<${'a'.repeat(120)}/>`), 'rim-xml-forbidden'],
    ['an attribute twice', root('', ' a="1" a="2"'), 'rim-xml'],
    ['twice under two prefixes', root('', ` xmlns:p="${DS}" xmlns:q="${DS}" p:a="1" q:a="2"`), 'rim-xml'],
  ])('NR-5: %s', (_, text, expected) => {
    expect(codeOf(text)).toBe(expected);
  });

  it.each([
    ['another namespace', root('<a xmlns="urn:other"/>'), 'rim-xml-namespace'],
    ['one that is declared and not used', root('', ' xmlns:p="urn:other"'), 'rim-xml-namespace'],
    ['one that differs by white space', root('', ` xmlns:p=" ${DS}"`), 'rim-xml-namespace'],
    ['one that differs by a letter', root(`<a xmlns="${DS.toUpperCase()}"/>`), 'rim-xml-namespace'],
    ['no namespace', '<r/>', 'rim-xml-namespace'],
    ['a default that is taken back', root('<a xmlns=""/>'), 'rim-xml-namespace'],
    ['a prefix that is taken back', root('<a xmlns:p=""/>', ` xmlns:p="${DS}"`), 'rim-xml'],
    ['xml:lang', root('', ' xml:lang="en"'), 'rim-xml-namespace'],
    ['xml:base', root('', ' xml:base="http://example.org/"'), 'rim-xml-namespace'],
    ['xml:id', root('', ' xml:id="a"'), 'rim-xml-namespace'],
    [
      'a declaration of xml',
      root('', ' xmlns:xml="http://www.w3.org/XML/1998/namespace"'),
      'rim-xml-namespace',
    ],
  ])('NR-6: %s', (_, text, expected) => {
    expect(codeOf(text)).toBe(expected);
  });

  it('NR-6: a prefix that is bound again means the other namespace', () => {
    const [child] = read(root(`<p:a xmlns:p="${DS}"/>`, ` xmlns:p="${SWID}"`))
      .content as readonly XmlElement[];
    expect(child?.name).toBe('ds:a');
  });

  it('refuses whatever is cut off, and throws nothing else over any bytes', () => {
    const whole = toUtf8(manifestText());
    for (let length = 0; length < whole.length; length += 1) {
      expect(refusalCode(() => readXml(whole.subarray(0, length), 'rim'))).not.toBe('accepted');
    }
    const pieces = fc.constantFrom(
      '<',
      '>',
      '/',
      '!',
      '?',
      '&',
      ';',
      '"',
      '--',
      ']]>',
      'a',
      ' ',
      'xmlns',
      '=',
      ':',
    );
    const text = fc.oneof(
      fc.string(),
      fc.array(pieces, { maxLength: 30 }).map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(text, fc.nat(), (inserted, place) => {
        const at = place % whole.length;
        const bytes = concatBytes(whole.subarray(0, at), toUtf8(inserted), whole.subarray(at));
        try {
          readXml(bytes, 'rim');
        } catch (error) {
          if (!isRefusal(error)) throw error;
        }
      }),
      { numRuns: 300 },
    );
  });
});
