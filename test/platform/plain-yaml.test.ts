import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { parsePlainYaml } from '../../src/platform/plain-yaml.ts';

class Refused extends Error {}

function read(text: string): unknown {
  return parsePlainYaml(text, (expected, found) => {
    throw new Refused(`${expected}: ${found}`);
  });
}

describe('plain YAML', () => {
  it('reads members, lists, texts and numbers', () => {
    expect(read('a: 1\nb: [x, "y"]\nc:\n  - d: true\n')).toEqual({ a: 1, b: ['x', 'y'], c: [{ d: true }] });
  });

  it.each([
    ['a: &x 1', 'no anchors'],
    ['a: &x 1\nb: *x', 'no anchors'],
    ['a: !!str 1', 'no tags'],
    ['%YAML 1.1\n---\na: 1', 'no directives'],
    ['a: 1\na: 2', 'line 2: Map keys must be unique'],
    ['a: 1\n---\nb: 2', 'plain YAML'],
    ['? [a]\n: b', 'plain YAML'],
    ['a: [1', 'plain YAML: line'],
    ['a: *x', 'no aliases'],
  ])('W11: refuses %j', (text, says) => {
    expect(() => read(text)).toThrow(Refused);
    expect(() => read(text)).toThrow(says);
  });

  it('throws nothing but the refusal of its caller, and that on one line', () => {
    const pieces = fc.constantFrom(
      'a',
      ':',
      ' ',
      '\n',
      '-',
      '&x',
      '*x',
      '!t',
      '"',
      '[',
      '{',
      '|',
      '%',
      '#',
      '---',
      '\t',
    );
    fc.assert(
      fc.property(
        fc.oneof(
          fc.string(),
          fc.array(pieces).map((list) => list.join('')),
        ),
        (text) => {
          try {
            read(text);
          } catch (error) {
            expect(error).toBeInstanceOf(Refused);
            expect((error as Refused).message).not.toContain('\n');
          }
        },
      ),
    );
  });
});
