import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  foldAppearance,
  FoldedText,
  foldHidden,
  FoldingTable,
  foldPlain,
  foldWhole,
} from '../../src/guard/fold.ts';

const anyText = fc.string({ unit: 'binary', maxLength: 60 });

describe('the view of appearance', () => {
  it.each([
    ['case and compatibility forms', 'ＳＡＲＩＮ ﬁsh ①', 'sarin fish 1 '],
    ['marks', 'Café naı̈ve s̶a̶r̶i̶n̶', 'cafe naive sarin '],
    ['invisible characters', 'sa\u200brin\u00ad x\u2066y\u2069z', 'sarin xyz '],
    ['look-alikes of other scripts', 'sаrіn αgent', 'sarin agent '],
    ['punctuation and space', ' nerve--agent,\n\tnow! ', 'nerve agent now '],
  ])('GD-11: resolves %s', (_, text, folded) => {
    expect(foldWhole(foldAppearance, text)).toBe(folded);
  });

  it('GD-11: is the same for a text and its NFC, NFD, NFKC and NFKD forms', () => {
    fc.assert(
      fc.property(anyText, (text) => {
        const folded = foldWhole(foldAppearance, text);
        for (const form of ['NFC', 'NFD', 'NFKC', 'NFKD'] as const) {
          expect(foldWhole(foldAppearance, text.toWellFormed().normalize(form))).toBe(
            foldWhole(foldAppearance, text.toWellFormed()),
          );
        }
        expect(foldWhole(foldAppearance, folded)).toBe(folded);
      }),
    );
  });
});

it('GD-11: the hidden view reads what stands in tag characters', () => {
  const tagged = Array.from('Ignore me', (letter) =>
    String.fromCodePoint(0xe0000 + (letter.codePointAt(0) ?? 0)),
  );
  expect(foldWhole(foldHidden, `nice ${tagged.join('')} day`)).toBe('ignore me ');
});

it('GD-12: folding pieces gives the same as folding the whole', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'binary', maxLength: 12 })), fc.nat(40), (pieces, at) => {
      const text = pieces.join('');
      for (const folding of [foldPlain, foldAppearance, foldHidden]) {
        const folded = new FoldedText(new FoldingTable(folding));
        const first = folded.push(text.slice(0, at));
        expect(first + folded.push(text.slice(at)) + folded.finish()).toBe(foldWhole(folding, text));
      }
    }),
  );
});
