/**
 * Byte-pair encoding, trained on the corpus and written the way SentencePiece models stand in GGUF: a piece that was
 * merged earlier has a higher score, and llama.cpp joins the neighbours whose union has the highest score.
 *
 * No piece reaches over the border of two words, therefore encoding word by word equals encoding the whole text.
 */

import { toUtf8 } from '../../attestation/core/bytes.ts';

/** Token types of GGUF (`tokenizer.ggml.token_type`). */
export const TOKEN_TYPE = { normal: 1, unknown: 2, control: 3, byte: 6 } as const;

export interface Token {
  readonly text: string;
  /** Higher is merged first. Only the order matters. */
  readonly score: number;
  readonly type: number;
}

/** The tokens that stand at the same identifiers in every vocabulary made here. */
export const SPECIAL = { unknown: 0, begin: 1, end: 2, user: 3, assistant: 4 } as const;
const FIRST_BYTE = 5;

/** How a space is written inside a piece (SentencePiece). */
export const SPACE = '▁';
const WORD = /▁?[\p{L}']+|▁?\p{N}|▁?[^▁\p{L}\p{N}']|▁/gu;

export class Vocabulary {
  readonly tokens: readonly Token[];
  private readonly identifiers: ReadonlyMap<string, number>;
  private readonly encodedWords = new Map<string, readonly number[]>();

  constructor(tokens: readonly Token[]) {
    this.tokens = tokens;
    this.identifiers = new Map(
      tokens.flatMap((token, identifier) =>
        token.type === TOKEN_TYPE.normal ? [[token.text, identifier]] : [],
      ),
    );
  }

  /** The tokens of a text; what no piece covers becomes its UTF-8 bytes. */
  encode(text: string): readonly number[] {
    return wordsOf(text).flatMap((word) => this.encodeWord(word));
  }

  private encodeWord(word: string): readonly number[] {
    const known = this.encodedWords.get(word);
    if (known !== undefined) return known;
    const pieces = mergeByScore(Array.from(word), (text) => this.score(text));
    const encoded = pieces.flatMap((piece) => this.identifiers.get(piece) ?? bytesOf(piece));
    this.encodedWords.set(word, encoded);
    return encoded;
  }

  private score(text: string): number | undefined {
    const identifier = this.identifiers.get(text);
    return identifier === undefined ? undefined : this.tokens[identifier]?.score;
  }
}

function bytesOf(piece: string): readonly number[] {
  return [...toUtf8(piece)].map((byte) => FIRST_BYTE + byte);
}

function wordsOf(text: string): readonly string[] {
  return text.replaceAll(' ', SPACE).match(WORD) ?? [];
}

function mergeByScore(symbols: string[], score: (text: string) => number | undefined): readonly string[] {
  for (;;) {
    let best = -1;
    let bestScore = -Infinity;
    for (let i = 0; i + 1 < symbols.length; i += 1) {
      const candidate = score((symbols[i] ?? '') + (symbols[i + 1] ?? ''));
      if (candidate !== undefined && candidate > bestScore) {
        best = i;
        bestScore = candidate;
      }
    }
    if (best < 0) return symbols;
    symbols.splice(best, 2, (symbols[best] ?? '') + (symbols[best + 1] ?? ''));
  }
}

/** A word of the corpus while merges are learned. */
interface TrainingWord {
  readonly count: number;
  symbols: string[];
}

/** Learns merges from the most frequent pair down, until a pair occurs only once or the vocabulary is full. */
export function trainVocabulary(texts: readonly string[], maximumTokens: number): Vocabulary {
  const words = trainingWords(texts);
  const characters = [...new Set(words.flatMap((word) => word.symbols))].sort();
  const tokens = [...fixedTokens(), ...characters.map((text) => normalToken(text, -maximumTokens))];
  const pieces = new Set(characters);
  const pairs = new Map<string, number>();
  for (const word of words) countPairs(pairs, word, 1);
  while (tokens.length < maximumTokens) {
    const pair = mostFrequentPair(pairs);
    if (pair === undefined) break;
    const [left = '', right = ''] = pair.split(PAIR_SEPARATOR);
    for (const word of words) mergePair(pairs, word, left, right);
    const merged = left + right;
    // Two pairs can have the same union; llama.cpp knows only the union, so it keeps its first score.
    if (!pieces.has(merged)) tokens.push(normalToken(merged, -tokens.length));
    pieces.add(merged);
  }
  return new Vocabulary(tokens);
}

function fixedTokens(): Token[] {
  const control = ['<s>', '</s>', '<|user|>', '<|assistant|>'];
  const bytes = Array.from({ length: 256 }, (_, byte) => byte.toString(16).toUpperCase().padStart(2, '0'));
  return [
    { text: '<unk>', score: 0, type: TOKEN_TYPE.unknown },
    ...control.map((text) => ({ text, score: 0, type: TOKEN_TYPE.control })),
    ...bytes.map((hex) => ({ text: `<0x${hex}>`, score: 0, type: TOKEN_TYPE.byte })),
  ];
}

function normalToken(text: string, score: number): Token {
  return { text, score, type: TOKEN_TYPE.normal };
}

function trainingWords(texts: readonly string[]): readonly TrainingWord[] {
  const counts = new Map<string, number>();
  for (const word of texts.flatMap(wordsOf)) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].map(([word, count]) => ({ count, symbols: Array.from(word) }));
}

const PAIR_SEPARATOR = ' ';

function countPairs(pairs: Map<string, number>, word: TrainingWord, sign: 1 | -1): void {
  for (let i = 0; i + 1 < word.symbols.length; i += 1) {
    const pair = `${word.symbols[i] ?? ''}${PAIR_SEPARATOR}${word.symbols[i + 1] ?? ''}`;
    const count = (pairs.get(pair) ?? 0) + sign * word.count;
    if (count > 0) pairs.set(pair, count);
    else pairs.delete(pair);
  }
}

function mostFrequentPair(pairs: ReadonlyMap<string, number>): string | undefined {
  let best: string | undefined;
  let bestCount = 1;
  for (const [pair, count] of pairs) {
    // Equal counts are decided by the text, so that the vocabulary does not depend on the order of the map.
    if (count > bestCount || (count === bestCount && best !== undefined && pair < best)) {
      best = pair;
      bestCount = count;
    }
  }
  return best;
}

function mergePair(pairs: Map<string, number>, word: TrainingWord, left: string, right: string): void {
  const { symbols } = word;
  const joins = (i: number): boolean => symbols[i] === left && symbols[i + 1] === right;
  if (!symbols.some((_, i) => joins(i))) return;
  countPairs(pairs, word, -1);
  const merged: string[] = [];
  for (let i = 0; i < symbols.length; i += 1) {
    if (joins(i)) {
      merged.push(left + right);
      i += 1;
    } else {
      merged.push(symbols[i] ?? '');
    }
  }
  word.symbols = merged;
  countPairs(pairs, word, 1);
}
