import fc from 'fast-check';
import { expect, it } from 'vitest';
import { TermAutomaton } from '../../src/guard/automaton.ts';

const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c', ' '), maxLength: 40 });
const terms = fc.array(fc.string({ unit: fc.constantFrom('a', 'b', ' '), minLength: 1, maxLength: 5 }), {
  minLength: 1,
  maxLength: 8,
});

it('GD-13: finds every term at every place, as a plain search does', () => {
  fc.assert(
    fc.property(terms, letters, (patterns, text) => {
      const automaton = new TermAutomaton(patterns);
      let state = 0;
      for (let end = 1; end <= text.length; end += 1) {
        state = automaton.step(state, text.charCodeAt(end - 1));
        const expected = patterns.flatMap((term, i) => (text.slice(0, end).endsWith(term) ? [i] : []));
        expect(automaton.endingAt(state).toSorted()).toEqual(expected);
      }
    }),
  );
});
