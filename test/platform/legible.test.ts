import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { legible } from '../../src/platform/legible.ts';

describe('legible text', () => {
  it('keeps letters of every script', () => {
    expect(legible('Zürich, 東京, مرحبا')).toBe('Zürich, 東京, مرحبا');
  });

  it('shows control characters, line ends and marks of direction as question marks', () => {
    expect(legible('a\u001b[31mb\nc\u2028d\u202ee\u0007')).toBe('a?[31mb?c?d?e?');
  });

  it('is one line without escape sequences, whatever it was', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        expect(legible(text)).not.toMatch(/[\p{Cc}\u2028\u2029]/u);
      }),
    );
  });
});
