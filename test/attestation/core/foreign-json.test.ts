import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { parseForeignJson } from '../../../attestation/core/foreign-json.ts';

describe('JSON of others', () => {
  it.each<[string, unknown]>([
    ['null', null],
    [' {"a": [1, true, "x"], "b": {"a": 2}} ', { a: [1, true, 'x'], b: { a: 2 } }],
    ['{"a:b": ":", "{": "[[[[[["}', { 'a:b': ':', '{': '[[[[[[' }],
    ['{"\\"a": "\\\\", "\\\\": "\\":"}', { '"a': '\\', '\\': '":' }],
    ['[[], [], [[]]]', [[], [], [[]]]],
    ['[{"a": 1}, {"a": 2}]', [{ a: 1 }, { a: 2 }]],
    ['"text"', 'text'],
  ])('W11: %s is taken', (text, value) => {
    expect(parseForeignJson(text, 3)).toEqual({ problem: undefined, value, hasPlainNumbers: true });
  });

  it.each([
    ['{"a": 1, "a": 2}', 'duplicate-member'],
    ['{"a": 1, "\\u0061": 1}', 'duplicate-member'],
    ['[{"b": {"a": 1, "c": 2, "a": 1}}]', 'duplicate-member'],
    ['{"__proto__": 1, "__proto__": 1}', 'duplicate-member'],
    ['', 'not-json'],
    ['{"a": 1', 'not-json'],
    ['{"a": "', 'not-json'],
    ['{"a": "\\', 'not-json'],
    ["{'a': 1}", 'not-json'],
    ['1 2', 'not-json'],
    ['[[[[1]]]]', 'too-deep'],
    ['{"a": {"b": {"c": {}}}}', 'too-deep'],
    ['[[[[', 'too-deep'],
  ])('W11: %s is not, and why', (text, problem) => {
    expect(parseForeignJson(text, 3)).toEqual({ problem });
  });

  it('W11: lists and objects are counted alike, and closed ones no more', () => {
    expect(parseForeignJson('[{"a": []}]', 3).problem).toBeUndefined();
    expect(parseForeignJson('[{"a": []}]', 2).problem).toBe('too-deep');
    expect(parseForeignJson('[[],{},[],{},[]]', 2).problem).toBeUndefined();
    expect(parseForeignJson('1', 0).problem).toBeUndefined();
  });

  it.each([
    ['[0, 10, 1234567890]', true],
    ['[-1]', false],
    ['[1.0]', false],
    ['[1e2]', false],
    ['[1E2]', false],
    ['[0e0]', false],
    ['[9e9]', false],
    ['["-1", "1.5", "1e2", "1E2"]', true],
    ['{"1e2": true, "-": false, ".": null}', true],
    ['[true, false]', true],
  ])('tells of %s whether its numbers are plain: %s', (text, hasPlainNumbers) => {
    expect(parseForeignJson(text, 9)).toMatchObject({ problem: undefined, hasPlainNumbers });
  });

  it('W11: whatever is written once is taken as it stands', () => {
    fc.assert(
      fc.property(fc.jsonValue(), (value) => {
        const text = JSON.stringify(value);
        expect(parseForeignJson(text, 100)).toMatchObject({ value: JSON.parse(text) as unknown });
      }),
      { numRuns: 50 },
    );
  });
});
