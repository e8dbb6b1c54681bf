import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { makeSeparatedCodes } from '../../../scripts/tiny-model/codes.ts';
import { readPassages } from '../../../scripts/tiny-model/corpus.ts';
import { constructModel } from '../../../scripts/tiny-model/generate.ts';
import { deriveRules, type Rule } from '../../../scripts/tiny-model/ngrams.ts';
import { writeRow } from '../../../scripts/tiny-model/quantize.ts';
import { TOKEN_TYPE, trainVocabulary } from '../../../scripts/tiny-model/tokenizer.ts';
import { refusalCode } from '../../support/refusal-code.ts';

const TEXTS = ['the tide comes in, the tide goes out', 'the boats are in the bay', 'the tide is in the bay'];

describe('corpus', () => {
  it('reads questions with their answer, and paragraphs', () => {
    const corpus = 'Question: Who?\nQuestion: Which?\nAnswer: That one.\n\n\nA paragraph.\n';
    expect(readPassages(corpus)).toEqual([
      { questions: [' Who?', ' Which?'], text: 'That one.' },
      { questions: [], text: 'A paragraph.' },
    ]);
  });

  it.each(['', 'Question: Who?', 'Answer: Nobody.', 'Question: Who?\nNobody.', 'one line\nanother line'])(
    'refuses %j',
    (corpus) => {
      expect(refusalCode(() => readPassages(corpus))).toBe('tiny-model-corpus-malformed');
    },
  );

  it('answers any text with passages or with a refusal', () => {
    const line = fc.constantFrom('Question: a', 'Answer: b', 'text', '', 'Question:', '\r');
    const corpora = fc.oneof(
      fc.string(),
      fc.array(line).map((lines) => lines.join('\n')),
    );
    fc.assert(
      fc.property(corpora, (corpus) => {
        const outcome = refusalCode(() => {
          expect(readPassages(corpus).length).toBeGreaterThan(0);
        });
        expect(['accepted', 'tiny-model-corpus-malformed']).toContain(outcome);
      }),
    );
  });

  it('refuses more passages than the topic head can tell apart', () => {
    const corpus = Array.from({ length: 193 }, (_, i) => `Paragraph ${i}.`).join('\n\n');
    expect(refusalCode(() => constructModel(corpus))).toBe('tiny-model-corpus-size');
  });

  it('refuses more characters than the vocabulary holds', () => {
    const corpus = Array.from({ length: 3000 }, (_, i) => String.fromCodePoint(0x4e00 + i)).join('');
    expect(refusalCode(() => constructModel(corpus))).toBe('tiny-model-corpus-size');
  });
});

describe('tokenizer', () => {
  const vocabulary = trainVocabulary(TEXTS, 1000);

  it('decodes to the text that was encoded', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'grapheme' }), fc.constantFrom(...TEXTS)), (text) => {
        const bytes = vocabulary.encode(text).flatMap((identifier) => {
          const token = vocabulary.tokens[identifier];
          if (token?.type === TOKEN_TYPE.byte) return [Number.parseInt(token.text.slice(1, -1), 16)];
          return [...new TextEncoder().encode(token?.text.replace('▁', ' '))];
        });
        expect(new TextDecoder().decode(Uint8Array.from(bytes))).toBe(text.replaceAll('▁', ' '));
      }),
    );
  });

  it('joins frequent words to one piece and keeps every piece apart from its neighbours', () => {
    expect(vocabulary.encode(' tide tide').map((token) => vocabulary.tokens[token]?.text)).toEqual([
      '▁tide',
      '▁tide',
    ]);
    const normal = vocabulary.tokens.filter((token) => token.type === TOKEN_TYPE.normal);
    expect(normal.every((token) => !token.text.slice(1).includes('▁'))).toBe(true);
    expect(new Set(normal.map((token) => token.text)).size).toBe(normal.length);
  });
});

describe('rules', () => {
  const options = { contextLogit: 20, topicLogit: 40, maximumSuccessors: 8 };

  /** What the rules that match the end of a text add to each logit, when the topic is `passage` alone. */
  function logitsAfter(
    text: readonly number[],
    rules: readonly Rule[],
    passage: number,
  ): Map<number, number> {
    const sum = new Map<number, number>();
    for (const rule of rules) {
      const matches = rule.tokens.every((token, i) => text[text.length - rule.tokens.length + i] === token);
      if (!matches || (rule.passage !== undefined && rule.passage !== passage)) continue;
      for (const [token, logit] of rule.logits) sum.set(token, (sum.get(token) ?? 0) + logit);
    }
    return sum;
  }

  it('lets the longest known context decide alone', () => {
    const sequences = [
      { passage: 0, tokens: [1, 10, 11, 12] },
      { passage: 1, tokens: [1, 20, 11, 13] },
    ];
    const rules = deriveRules(sequences, options);
    const after = logitsAfter([1, 10, 11], rules, 1);
    expect(after.get(12)).toBeCloseTo(20);
    expect(after.get(13)).toBeCloseTo(0);
    expect(logitsAfter([5, 11], rules, 0).get(13)).toBeCloseTo(20 + Math.log(1 / 2));
  });

  it('lets the topic choose where the longest context leaves a choice', () => {
    const sequences = [
      { passage: 0, tokens: [1, 10] },
      { passage: 1, tokens: [1, 20] },
    ];
    const rules = deriveRules(sequences, options);
    expect(logitsAfter([1], rules, 0).get(10)).toBeCloseTo(60 + Math.log(1 / 2));
    expect(logitsAfter([1], rules, 1).get(10)).toBeCloseTo(20 + Math.log(1 / 2));
  });

  it('predicts every next token of texts without ambiguity', () => {
    const tokens = fc.uniqueArray(fc.integer({ min: 5, max: 60 }), { minLength: 2, maxLength: 20 });
    fc.assert(
      fc.property(tokens, (sequence) => {
        const rules = deriveRules([{ passage: 0, tokens: sequence }], options);
        for (let i = 1; i < sequence.length; i += 1) {
          const ranked = [...logitsAfter(sequence.slice(0, i), rules, 0)].sort((a, b) => b[1] - a[1]);
          expect(ranked[0]?.[0]).toBe(sequence[i]);
        }
      }),
    );
  });
});

describe('codes and quantization', () => {
  it('keeps the product of any two codes under its bound', () => {
    const [count, dimensions, bound] = [200, 128, 42];
    const { signs } = makeSeparatedCodes('test', count, dimensions, bound);
    let largest = 0;
    for (let a = 0; a < count; a += 1) {
      for (let b = 0; b < a; b += 1) {
        let product = 0;
        for (let i = 0; i < dimensions; i += 1)
          product += signs[a * dimensions + i]! * signs[b * dimensions + i]!;
        largest = Math.max(largest, product);
      }
    }
    expect(largest).toBeLessThanOrEqual(bound);
    expect(largest).toBeGreaterThan(0);
  });

  it('keeps every value of a row within a step of its block', () => {
    const values = fc.float32Array({ minLength: 64, maxLength: 64, min: -100, max: 100, noNaN: true });
    fc.assert(
      fc.property(values, (row) => {
        const bytes = new DataView(new ArrayBuffer(68));
        writeRow('q8_0', row, bytes, 0);
        for (const [i, value] of row.entries()) {
          const block = i >> 5;
          const largest = Math.max(...row.subarray(block * 32, block * 32 + 32).map(Math.abs));
          const restored = bytes.getFloat16(block * 34, true) * bytes.getInt8(block * 34 + 2 + (i & 31));
          expect(Math.abs(restored - value)).toBeLessThanOrEqual(largest / 127 + 1e-5);
        }
      }),
    );
  });
});
