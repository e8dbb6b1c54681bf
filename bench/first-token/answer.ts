/** A streamed answer of the running model, and when its pieces came. */

import { request, type IncomingMessage } from 'node:http';
import { createInterface } from 'node:readline';

/** In milliseconds since the request was sent. */
export interface AnswerTimes {
  /** The first piece of text; undefined for an answer without any. */
  readonly text: number | undefined;
  readonly end: number;
}

/**
 * Asks as any OpenAI client does.
 *
 * @param address for example `http://127.0.0.1:8080/v1`
 * @throws Error when the answer is no stream that ends well
 */
export async function timeAnswer(address: string, model: string, tokens: number): Promise<AnswerTimes> {
  const sentAt = performance.now();
  const response = await post(`${address}/chat/completions`, {
    model,
    messages: [{ role: 'user', content: 'What is a lighthouse?' }],
    max_tokens: tokens,
    temperature: 0,
    stream: true,
  });
  if (response.statusCode !== 200)
    throw new Error(`the model answered with status ${response.statusCode ?? 0}`);
  let text: number | undefined;
  for await (const line of createInterface({ input: response })) {
    if (line === 'data: [DONE]') return { text, end: performance.now() - sentAt };
    if (text === undefined && hasText(line)) text = performance.now() - sentAt;
  }
  throw new Error('the answer was cut');
}

function post(address: string, body: unknown): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const headers = { 'content-type': 'application/json' };
    request(address, { method: 'POST', headers }, resolve).on('error', reject).end(JSON.stringify(body));
  });
}

/** @param line of an event stream */
export function hasText(line: string): boolean {
  if (!line.startsWith('data: ')) return false;
  const event = JSON.parse(line.slice('data: '.length)) as {
    readonly choices?: readonly { readonly delta?: { readonly content?: string | null } }[];
  };
  return (event.choices ?? []).some(({ delta }) => (delta?.content ?? '') !== '');
}
