/**
 * The form of a corpus: passages between empty lines. A passage is a paragraph on one line, or one or several lines
 * `Question: …` (ways to ask for the same thing) followed by one line `Answer: …`. The question `(anything else)`
 * marks the answer to what the corpus knows nothing about.
 */

import { excerpt } from '../../attestation/core/bytes.ts';
import { tinyModelMalformed } from './refusals.ts';

/** One thing that the model can say, and the questions that ask for it; an essay's paragraph has none. */
export interface Passage {
  /** Each with the space before it, so that its first word is the same token as within a sentence. */
  readonly questions: readonly string[];
  readonly text: string;
}

/** The question that stands for all questions about unknown things. */
export const ANYTHING_ELSE = ' (anything else)';

const QUESTION = 'Question: ';
const ANSWER = 'Answer: ';

/** @throws RefusalError `tiny-model-corpus-malformed` */
export function readPassages(corpus: string): readonly Passage[] {
  const blocks = corpus.split(/\n{2,}/).map((block) => block.trim());
  const passages = blocks.filter((block) => block !== '').map(readPassage);
  if (passages.length === 0) refuse('corpus', 'at least one passage', corpus);
  return passages;
}

function readPassage(block: string, index: number): Passage {
  const field = `corpus.passage[${index}]`;
  const lines = block.split('\n');
  const last = lines.pop() ?? '';
  if (lines.length === 0 && !last.startsWith(QUESTION) && !last.startsWith(ANSWER)) {
    return { questions: [], text: last };
  }
  const questions = lines.map((line) => {
    if (!line.startsWith(QUESTION)) refuse(field, `a line that begins with "${QUESTION}"`, line);
    return line.slice(QUESTION.length - 1);
  });
  if (questions.length === 0 || !last.startsWith(ANSWER)) {
    refuse(field, `questions, then one line that begins with "${ANSWER}"`, last);
  }
  return { questions, text: last.slice(ANSWER.length) };
}

function refuse(field: string, expected: string, found: string): never {
  throw tinyModelMalformed.error('tiny-model-corpus-malformed', { field, expected, found: excerpt(found) });
}
