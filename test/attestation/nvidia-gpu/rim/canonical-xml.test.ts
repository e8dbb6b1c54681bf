import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { fromUtf8, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { canonicalXml } from '../../../../attestation/nvidia-gpu/rim/canonical-xml.ts';
import { readXml } from '../../../../attestation/nvidia-gpu/rim/xml.ts';
import type { XmlElement } from '../../../../attestation/nvidia-gpu/rim/xml.ts';
import { DS, SWID } from './made-manifest.ts';

const SHA384 = 'http://www.w3.org/2001/04/xmlenc#sha384';
const canonical = (text: string): string => fromUtf8(canonicalXml(readXml(toUtf8(text), 'rim')), 'rim');

describe('Canonical XML', () => {
  // After the examples of the recommendation (sections 3.1 to 3.4), in the namespaces that are allowed here.
  it.each([
    [
      'comments and a declaration go, white space in the content stays',
      `<?xml version="1.0"?>\n<!-- c -->\n<r xmlns="${SWID}">\n  <!-- c --> <a/>\r\n</r >\n<!-- c -->`,
      `<r xmlns="${SWID}">\n   <a></a>\n</r>`,
    ],
    [
      'start tags: order of declarations and attributes, quotes, white space',
      `<e  xmlns:b='${DS}'\n  xmlns='${SWID}' xmlns:a="${SHA384}" b:attr="sorted" attr2="all"   a:attr='out' attr = "I'm"></e>`,
      `<e xmlns="${SWID}" xmlns:a="${SHA384}" xmlns:b="${DS}" attr="I'm" attr2="all" b:attr="sorted" a:attr="out"></e>`,
    ],
    [
      'declarations that the parent has are left out, others are not',
      `<r xmlns="${SWID}" xmlns:a="${DS}"><b xmlns="${SWID}" xmlns:a="${DS}" xmlns:c="${DS}"><d xmlns:a="${SHA384}"><e xmlns:a="${DS}"/></d></b></r>`,
      `<r xmlns="${SWID}" xmlns:a="${DS}"><b xmlns:c="${DS}"><d xmlns:a="${SHA384}"><e xmlns:a="${DS}"></e></d></b></r>`,
    ],
    [
      'characters in text and in attributes',
      `<r xmlns="${SWID}" a="x&#x9;y&#xA;z&#xD;'&quot;&lt;&gt;&amp;\t\r\n."><b>&lt;&gt;&amp;&quot;'&#xD;\r\n\t&#xe9;</b></r>`,
      `<r xmlns="${SWID}" a="x&#x9;y&#xA;z&#xD;'&quot;&lt;>&amp;  ."><b>&lt;&gt;&amp;"'&#xD;\n\t\u00e9</b></r>`,
    ],
  ])('NR-7, NR-8: %s', (_, text, expected) => {
    expect(canonical(text)).toBe(expected);
  });

  it('NR-8: an element that stands alone carries what is in scope', () => {
    const element = readXml(toUtf8(`<b:e xmlns:b="${DS}"><b:f/></b:e>`), 'rim');
    const scope = new Map([
      ['z', SHA384],
      ['', SWID],
      ['b', SWID],
    ]);
    expect(fromUtf8(canonicalXml(element, scope), 'rim')).toBe(
      `<b:e xmlns="${SWID}" xmlns:b="${DS}" xmlns:z="${SHA384}"><b:f></b:f></b:e>`,
    );
  });

  /** A tree, written in a way that the second argument chooses. */
  type Writer = (tree: Tree, choose: () => number) => string;
  interface Tree {
    readonly attributes: Readonly<Record<string, string>>;
    readonly content: readonly (Tree | string)[];
  }
  const value = fc.string({
    unit: fc.constantFrom('a', 'b', ' ', '&', '<', '>', '"', "'", '\t', '\n', '\r', '\u00e9', '\u{1f512}'),
    maxLength: 6,
  });
  const attributes = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'p:a', 'p:b', 'q:a'), value, {
    maxKeys: 5,
  });
  const { tree } = fc.letrec<{ tree: Tree }>((tie) => ({
    tree: fc.record({
      attributes,
      content: fc.oneof(
        { depthSize: 'small', maxDepth: 3 },
        value.map((text) => (text.trim() === '' ? [] : [text])),
        fc.array(tie('tree'), { maxLength: 3 }),
      ),
    }),
  }));

  const character = (symbol: string, choose: () => number): string => {
    const code = symbol.codePointAt(0) ?? 0;
    const forms = [`&#${code};`, `&#x${code.toString(16)};`];
    if (!'&<>"\'\t\n\r'.includes(symbol)) forms.push(symbol);
    return forms[choose() % forms.length] ?? symbol;
  };
  const write: Writer = ({ attributes: named, content }, choose) => {
    const entries = Object.entries(named).map(([name, text]) => {
      const quote = choose() % 2 === 0 ? '"' : "'";
      return `${name}=${quote}${Array.from(text)
        .map((symbol) => character(symbol, choose))
        .join('')}${quote}`;
    });
    const declarations = [`xmlns="${SWID}"`, `xmlns:p="${DS}"`, `xmlns:q='${SHA384}'`];
    const start = [...declarations, ...entries]
      .map((text) => ({ text, order: choose() }))
      .toSorted((left, right) => left.order - right.order)
      .map(({ text }) => `${' \n\t'.charAt(choose() % 3)}${text}`);
    const inner = content.map((item) =>
      typeof item === 'string'
        ? Array.from(item)
            .map((symbol) => character(symbol, choose))
            .join('')
        : write(item, choose),
    );
    const isText = content.some((item) => typeof item === 'string');
    const comment = !isText && choose() % 3 === 0 ? '<!-- c -->' : '';
    if (inner.length === 0 && comment === '' && choose() % 2 === 0) return `<e${start.join('')}/>`;
    return `<e${start.join('')}>${comment}${inner.join('')}</e>`;
  };
  /** Numbers from a seed (the constants of Numerical Recipes). */
  const chooser = (seed: number): (() => number) => {
    let state = seed;
    return () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) >>> 16;
  };

  it('NR-7: however a tree is written, its canonical form is the same, and is its own', () => {
    fc.assert(
      fc.property(tree, fc.nat(), fc.nat(), (made, first, second) => {
        const form = canonical(write(made, chooser(first)));
        expect(canonical(write(made, chooser(second)))).toBe(form);
        expect(canonical(form)).toBe(form);
      }),
      { numRuns: 150 },
    );
  });

  it('NR-7: two trees that differ have two canonical forms', () => {
    const values = (element: XmlElement): unknown => [
      element.attributes.map(({ name, value: text }) => [name, text]).toSorted(),
      element.content.map((item) => (typeof item === 'string' ? item : values(item))),
    ];
    fc.assert(
      fc.property(tree, tree, fc.nat(), (left, right, seed) => {
        const texts = [left, right].map((made) => write(made, chooser(seed)));
        const [one, other] = texts.map((text) => values(readXml(toUtf8(text), 'rim')));
        const forms = texts.map(canonical);
        expect(forms[0] === forms[1]).toBe(JSON.stringify(one) === JSON.stringify(other));
      }),
      { numRuns: 150 },
    );
  });
});
