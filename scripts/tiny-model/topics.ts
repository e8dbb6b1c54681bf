/**
 * What a token says about the topic: which passages it speaks for, and how telling that is. The topic head averages
 * the first over a conversation, weighted by the second.
 */

import { ANYTHING_ELSE, type Passage } from './corpus.ts';
import { SPACE, SPECIAL, TOKEN_TYPE, type Vocabulary } from './tokenizer.ts';

export interface TokenTopic {
  /** Passage to the share of the token's weight that is there; the shares add up to one, or to zero. */
  readonly shares: ReadonlyMap<number, number>;
  /** Logarithm of all passages over those that the token speaks for: 0 for all alike. */
  readonly salience: number;
}

type Weights = ReadonlyMap<number, number>;

/** What an occurrence in a passage's text weighs, where being the whole of its question weighs 1. */
const TEXT_WEIGHT = 0.04;
/** A space and at least two letters. */
const WORD_START = /^\u2581\p{L}{2}/u;
/** Words of more than this many letters lose a plural's ending. */
const SHORT_WORD = 3;
/** Enough to be heard when nothing else speaks, little against one word that the corpus knows well. */
const UNKNOWN_SALIENCE = 2;
/** A word that no question asks about says less, so that an answer does not drown the next question. */
const MENTIONED_SALIENCE = 2.5;
/** A token without a topic must not dilute those that have one. */
const SILENT: TokenTopic = { shares: new Map(), salience: -4 };

/** The topic of each token of the vocabulary, at the token's identifier. */
export function deriveTopics(passages: readonly Passage[], vocabulary: Vocabulary): readonly TokenTopic[] {
  const stems = vocabulary.tokens.map(({ text, type }) => (type === TOKEN_TYPE.normal ? stemOf(text) : ''));
  const stemsIn = (text: string): readonly string[] =>
    vocabulary.encode(text).flatMap((token) => stems[token] || []);
  const weights = weighStems(passages, stemsIn);
  const asked = new Set(passages.flatMap(({ questions }) => questions.flatMap(stemsIn)));
  const unknown = unknownTopic(passages);
  return stems.map((stem, token) => {
    // A turn begins as if it were about something unknown, until its words tell otherwise.
    if (token === SPECIAL.user) return unknown;
    if (stem === '') return SILENT;
    const known = weights.get(stem);
    if (known === undefined) return unknown;
    return topicOf(known, passages.length, asked.has(stem) ? Infinity : MENTIONED_SALIENCE);
  });
}

/** Forms of one word share their topic: case and a plural's ending are dropped. Pieces inside of words have none. */
function stemOf(text: string): string {
  if (!WORD_START.test(text)) return '';
  const word = text.slice(SPACE.length).toLowerCase();
  return word.length > SHORT_WORD && word.endsWith('s') ? word.slice(0, -1) : word;
}

/** Stem to passage to weight. */
function weighStems(
  passages: readonly Passage[],
  stemsIn: (text: string) => readonly string[],
): ReadonlyMap<string, Weights> {
  const rarity = rarityOf(passages.map(({ questions, text }) => stemsIn([...questions, text].join(' '))));
  const weights = new Map<string, Map<number, number>>();
  const add = (stem: string, passage: number, weight: number): void => {
    const of = weights.get(stem) ?? new Map<number, number>();
    of.set(passage, (of.get(passage) ?? 0) + weight);
    weights.set(stem, of);
  };
  for (const [index, passage] of passages.entries()) {
    // Nobody asks for a paragraph, and the answer about unknown things has no words of its own.
    if (passage.questions.length === 0 || passage.questions.includes(ANYTHING_ELSE)) continue;
    for (const [stem, part] of partsOfQuestions(passage.questions.map(stemsIn), rarity))
      add(stem, index, part);
    for (const stem of stemsIn(passage.text)) add(stem, index, TEXT_WEIGHT);
  }
  return weights;
}

/** Inverse document frequency, never quite zero: a question may consist of common words only. */
function rarityOf(documents: readonly (readonly string[])[]): (stem: string) => number {
  const frequency = new Map<string, number>();
  for (const stem of documents.flatMap((stems) => [...new Set(stems)])) {
    frequency.set(stem, (frequency.get(stem) ?? 0) + 1);
  }
  return (stem) => Math.log((documents.length + 1) / (frequency.get(stem) ?? 1));
}

/** How much of a question each stem is, by rarity; of several questions, the one of which it is the greatest part. */
function partsOfQuestions(
  questions: readonly (readonly string[])[],
  rarity: (stem: string) => number,
): ReadonlyMap<string, number> {
  const parts = new Map<string, number>();
  for (const stems of questions) {
    const whole = stems.reduce((sum, stem) => sum + rarity(stem), 0);
    for (const stem of stems) parts.set(stem, Math.max(parts.get(stem) ?? 0, rarity(stem) / whole));
  }
  return parts;
}

function topicOf(weights: Weights, passages: number, maximumSalience: number): TokenTopic {
  // Squares, because a word belongs to the passage that is about it much more than to those that mention it.
  const squares = [...weights].map(([passage, weight]) => [passage, weight * weight] as const);
  const total = squares.reduce((sum, [, square]) => sum + square, 0);
  const shares = new Map(squares.map(([passage, square]) => [passage, square / total]));
  // The inverse of the summed squares of shares is the number of passages, if they were all alike.
  const concentration = [...shares.values()].reduce((sum, share) => sum + share * share, 0);
  const salience = Math.log(passages * concentration);
  return { shares, salience: Math.min(salience, maximumSalience) };
}

/** A piece that the corpus never uses comes from a word that it does not know. */
function unknownTopic(passages: readonly Passage[]): TokenTopic {
  const answer = passages.findIndex(({ questions }) => questions.includes(ANYTHING_ELSE));
  return answer < 0 ? SILENT : { shares: new Map([[answer, 1]]), salience: UNKNOWN_SALIENCE };
}
