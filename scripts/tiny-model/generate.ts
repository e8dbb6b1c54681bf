/** From a text to a model that has read it, in a second and without training. */

import { fileURLToPath } from 'node:url';

import { type Passage, readPassages } from './corpus.ts';
import { modelMetadata } from './metadata.ts';
import { deriveRules, type RuleOptions, type Sequence } from './ngrams.ts';
import { tinyModelMalformed } from './refusals.ts';
import { SPECIAL, trainVocabulary, type Vocabulary } from './tokenizer.ts';
import { deriveTopics, type TokenTopic } from './topics.ts';
import {
  CONTEXT_TOKENS,
  constructTensors,
  HEADS,
  hiddenWidth,
  MAXIMUM_PASSAGES,
  ROPE_BASE,
  type Tensor,
  WIDTH,
} from './transformer.ts';
import { ggufPieces, type ModelSummary, readText, summarize, tensorPieces, writePieces } from './write.ts';

export const DEFAULT_CORPUS = fileURLToPath(new URL('corpus.txt', import.meta.url));
export const DEFAULT_SEED = 'weightgate/tiny-model/v1';
const MAXIMUM_TOKENS = 2560;
const RULES: RuleOptions = { contextLogit: 20, topicLogit: 40, maximumSuccessors: 24 };

export interface TinyModelOptions {
  /** Where the GGUF file goes; a file that is there is replaced. */
  readonly out: string;
  /** Path of a text in the form of `corpus.txt`, instead of that one. */
  readonly corpus?: string;
  /** Another seed gives other bytes of the same quality; the same one always gives the same bytes. */
  readonly seed?: string;
  /** Ends the writing early; no part of a file remains. */
  readonly signal?: AbortSignal;
}

/** A model before it is written. */
export interface TinyModel {
  readonly vocabulary: Vocabulary;
  readonly topics: readonly TokenTopic[];
  readonly tensors: readonly Tensor[];
  readonly hiddenWidth: number;
}

/**
 * Makes the small model that has read the corpus, and writes it as GGUF.
 *
 * @throws RefusalError `tiny-model-corpus-malformed`, `tiny-model-corpus-size`, `tiny-model-file`
 */
export async function generateTinyModel(options: TinyModelOptions): Promise<ModelSummary> {
  const model = constructModel(await readText(options.corpus ?? DEFAULT_CORPUS), options.seed);
  await writeTinyModel(model, options.out, options.signal);
  return summarize(model.tensors);
}

/** The tokenizer alone, for models that need no more of the corpus. @throws RefusalError `tiny-model-*` */
export async function readVocabulary(corpus: string = DEFAULT_CORPUS): Promise<Vocabulary> {
  return vocabularyOf(readPassages(await readText(corpus)));
}

/** @throws RefusalError `tiny-model-corpus-malformed`, `tiny-model-corpus-size` */
export function constructModel(corpus: string, seed: string = DEFAULT_SEED): TinyModel {
  const passages = readPassages(corpus);
  refuseAbove('corpus.passages', MAXIMUM_PASSAGES, passages.length);
  const vocabulary = vocabularyOf(passages);
  refuseAbove('corpus.tokens', MAXIMUM_TOKENS, vocabulary.tokens.length);
  const topics = deriveTopics(passages, vocabulary);
  const rules = deriveRules(sequencesOf(passages, vocabulary), RULES);
  return {
    vocabulary,
    topics,
    tensors: constructTensors({ topics, rules, seed }),
    hiddenWidth: hiddenWidth(rules),
  };
}

/**
 * A word that occurs once stays in pieces, and pieces have no topic. The words of questions matter, however a person
 * capitalises them, so they are read as if they occurred more often.
 */
function vocabularyOf(passages: readonly Passage[]): Vocabulary {
  const texts = passages.flatMap(({ questions, text }) => {
    const lowerCase = questions.map((question) => question.toLowerCase());
    return [text, ...questions, ...questions, ...lowerCase, ...lowerCase];
  });
  return trainVocabulary(texts, MAXIMUM_TOKENS);
}

function refuseAbove(field: string, maximum: number, found: number): void {
  if (found <= maximum) return;
  throw tinyModelMalformed.error('tiny-model-corpus-size', {
    field,
    expected: `at most ${maximum}`,
    found: String(found),
  });
}

/** What the model learns to write: answers after the assistant's marker, paragraphs from the beginning. */
function sequencesOf(passages: readonly Passage[], vocabulary: Vocabulary): readonly Sequence[] {
  return passages.map(({ questions, text }, passage) => {
    const start = questions.length > 0 ? SPECIAL.assistant : SPECIAL.begin;
    return { passage, tokens: [start, ...vocabulary.encode(text), SPECIAL.end] };
  });
}

/** @throws RefusalError `tiny-model-file` */
export async function writeTinyModel(model: TinyModel, path: string, signal?: AbortSignal): Promise<void> {
  const shape = {
    name: 'Weightgate tiny model',
    layers: 1,
    width: WIDTH,
    hiddenWidth: model.hiddenWidth,
    heads: HEADS,
    contextTokens: CONTEXT_TOKENS,
    ropeBase: ROPE_BASE,
  };
  const metadata = modelMetadata(shape, model.vocabulary.tokens);
  await writePieces(path, ggufPieces(metadata, model.tensors, tensorPieces), signal);
}
