/** The bodies of answers as OpenAI's clients read them (IA-30, IA-31). */

import type { Usage } from '../engine/engine.ts';
import type { AnswerEvent, FinishReason } from './answer.ts';

/** What all pieces of one answer share. */
export interface ResponseHead {
  readonly id: string;
  /** POSIX seconds. */
  readonly created: number;
  readonly model: string;
}

interface UsageBody {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

function usageBody(usage: Usage | undefined): UsageBody | undefined {
  if (usage === undefined) return undefined;
  const { promptTokens, completionTokens } = usage;
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}

/** The text of a policy stop stands in its own member, so that nobody takes it for the model's. */
function refusalOf(finishReason: FinishReason, refusalText: string): string | null {
  return finishReason === 'content_filter' ? refusalText : null;
}

/** A whole answer. */
export function completionBody(
  head: ResponseHead,
  content: string,
  end: Extract<AnswerEvent, { kind: 'end' }>,
  refusalText: string,
): object {
  const message = { role: 'assistant', content, refusal: refusalOf(end.finishReason, refusalText) };
  return {
    ...head,
    object: 'chat.completion',
    choices: [{ index: 0, message, logprobs: null, finish_reason: end.finishReason }],
    usage: usageBody(end.usage),
  };
}

function chunkBody(head: ResponseHead, delta: object, finishReason: FinishReason | null): object {
  return {
    ...head,
    object: 'chat.completion.chunk',
    choices: [{ index: 0, delta, logprobs: null, finish_reason: finishReason }],
  };
}

/** The chunk with which a stream begins. */
export function openingChunk(head: ResponseHead): object {
  return chunkBody(head, { role: 'assistant', content: '' }, null);
}

export function textChunk(head: ResponseHead, text: string): object {
  return chunkBody(head, { content: text }, null);
}

export function closingChunk(head: ResponseHead, finishReason: FinishReason, refusalText: string): object {
  const refusal = refusalOf(finishReason, refusalText);
  return chunkBody(head, refusal === null ? {} : { refusal }, finishReason);
}

/** The chunk of counts after the closing one, for callers that asked for it. */
export function usageChunk(head: ResponseHead, usage: Usage | undefined): object {
  return { ...head, object: 'chat.completion.chunk', choices: [], usage: usageBody(usage) ?? null };
}
