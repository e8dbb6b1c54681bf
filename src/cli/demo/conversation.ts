/** Requests to the running model, as any OpenAI client makes them. */

import { z } from 'zod';

import { readShape } from '../../platform/shape.ts';

const answerSchema = z.looseObject({
  choices: z.array(z.looseObject({ message: z.looseObject({ content: z.string() }) })).min(1),
});
const errorSchema = z.looseObject({ error: z.looseObject({ code: z.string(), message: z.string() }) });

/** Far longer than the small model of the demonstration takes on any machine. */
const ANSWER_MILLISECONDS = 60_000;
const MAX_TOKENS = 80;

export type Reply =
  | { readonly kind: 'answer'; readonly status: number; readonly text: string }
  | { readonly kind: 'error'; readonly status: number; readonly code: string; readonly text: string };

/** @param address for example `http://127.0.0.1:8080/v1` */
export async function ask(address: string, model: string, content: string): Promise<Reply> {
  const response = await fetch(`${address}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      model,
      messages: [{ role: 'user', content }],
      max_tokens: MAX_TOKENS,
      temperature: 0,
    }),
    signal: AbortSignal.timeout(ANSWER_MILLISECONDS),
  });
  const body: unknown = await response.json();
  if (response.ok) {
    const [choice] = readShape(answerSchema, body, 'answer').choices;
    return { kind: 'answer', status: response.status, text: choice?.message.content ?? '' };
  }
  const { error } = readShape(errorSchema, body, 'answer');
  return { kind: 'error', status: response.status, code: error.code, text: error.message };
}
