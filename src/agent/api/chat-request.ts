/** Reading the body of a chat request (IA-20 to IA-24): a closed list of parameters within the bounds of the policy. */

import { z } from 'zod';
import { excerpt, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { PolicyDocument } from '../../guard/policy.ts';
import type { ChatMessage } from '../../guard/verdict.ts';
import type { GenerationRequest } from '../engine/engine.ts';
import { requestRefusals } from './refusals.ts';

export interface ChatRequest {
  readonly generation: GenerationRequest;
  readonly messages: readonly ChatMessage[];
  readonly stream: boolean;
  /** Ends a stream with a chunk of counts. */
  readonly includeUsage: boolean;
}

type Limits = Pick<PolicyDocument, 'limits' | 'sampling'>;

const textPart = z.strictObject({ type: z.literal('text'), text: z.string() });
const messageSchema = z.strictObject({
  role: z.enum(['system', 'developer', 'user', 'assistant']),
  content: z.union([z.string(), z.array(textPart).min(1)]),
});

/** Parameters that clients send with the value that means nothing; any other value is refused. */
const onlyDefaults = {
  n: z.literal(1).nullish(),
  logprobs: z.literal(false).nullish(),
  store: z.literal(false).nullish(),
  frequency_penalty: z.literal(0).nullish(),
  presence_penalty: z.literal(0).nullish(),
};

function bodySchema({ limits, sampling }: Limits) {
  const completionTokens = z.int().min(1).max(limits.completionTokens).nullish();
  const stopText = z.string().min(1).max(64);
  return z.strictObject({
    model: z.string(),
    messages: z.array(messageSchema).min(1).max(limits.messages),
    max_tokens: completionTokens,
    max_completion_tokens: completionTokens,
    temperature: z
      .number()
      .min(0)
      .max(sampling.maximumTemperaturePercent / 100)
      .nullish(),
    top_p: z.number().min(0).max(1).nullish(),
    seed: z.int().min(0).max(0xffffffff).nullish(),
    stop: z.union([stopText, z.array(stopText).max(limits.stopSequences)]).nullish(),
    stream: z.boolean().nullish(),
    stream_options: z
      .strictObject({ include_usage: z.boolean().nullish(), include_obfuscation: z.boolean().nullish() })
      .nullish(),
    user: z.string().max(512).nullish(),
    ...onlyDefaults,
  });
}

/** Reads chat requests under one policy, for one model. */
export class ChatRequestReader {
  private readonly limits: Limits;
  private readonly model: string;
  private readonly schema: ReturnType<typeof bodySchema>;

  constructor(limits: Limits, model: string) {
    this.limits = limits;
    this.model = model;
    this.schema = bodySchema(limits);
  }

  /** @throws RefusalError `api-body`, `api-parameter`, `api-parameter-unsupported`, `api-model-unknown` */
  read(body: unknown): ChatRequest {
    const result = this.schema.safeParse(body);
    if (!result.success) refuseIssue(body, result.error.issues[0]);
    const { data } = result;
    if (data.model !== this.model) refuseModel(data.model);
    const messages = data.messages.map(chatMessage);
    this.checkMessages(messages);
    const stop = data.stop ?? [];
    return {
      messages,
      stream: data.stream ?? false,
      includeUsage: data.stream_options?.include_usage ?? false,
      generation: {
        messages,
        completionTokens: this.completionTokens(data.max_tokens, data.max_completion_tokens),
        temperature: data.temperature ?? Math.min(1, this.limits.sampling.maximumTemperaturePercent / 100),
        topProbability: data.top_p ?? 1,
        stop: typeof stop === 'string' ? [stop] : stop,
        ...(typeof data.seed === 'number' ? { seed: data.seed } : {}),
      },
    };
  }

  private completionTokens(...asked: readonly (number | null | undefined)[]): number {
    return Math.min(
      this.limits.limits.completionTokens,
      ...asked.filter((tokens) => typeof tokens === 'number'),
    );
  }

  private checkMessages(messages: readonly ChatMessage[]): void {
    const bytes = messages.reduce((total, { content }) => total + toUtf8(content).length, 0);
    const { promptBytes } = this.limits.limits;
    if (bytes > promptBytes) {
      refuseParameter('messages', `at most ${promptBytes} bytes of text`, `${bytes} bytes`);
    }
    // An answer that the caller has begun would be judged as the caller's text, not as the model's.
    if (messages.at(-1)?.role === 'assistant') {
      refuseParameter('messages', 'a last message of the user or the system', 'one of the assistant');
    }
  }
}

function chatMessage({ role, content }: z.infer<typeof messageSchema>): ChatMessage {
  return {
    role: role === 'developer' ? 'system' : role,
    content: typeof content === 'string' ? content : content.map((part) => part.text).join('\n'),
  };
}

function refuseIssue(body: unknown, issue: z.core.$ZodIssue | undefined): never {
  if (typeof body !== 'object' || body === null) {
    throw requestRefusals.error('api-body', { field: 'body', expected: 'a JSON object', found: 'none' });
  }
  const path = parameterPath(issue?.path ?? []);
  if (issue?.code === 'unrecognized_keys') {
    const name = excerpt(issue.keys[0] ?? '');
    refuseUnsupported(path === '' ? name : `${path}.${name}`);
  }
  const name = String(issue?.path[0]);
  if (name in onlyDefaults) refuseUnsupported(name);
  refuseParameter(
    path,
    'a value of the declared type and bounds',
    excerpt(issue?.message ?? 'another value'),
  );
}

function parameterPath(path: readonly PropertyKey[]): string {
  return path
    .map((step) => (typeof step === 'number' ? `[${step}]` : `.${excerpt(String(step))}`))
    .join('')
    .slice(1);
}

function refuseUnsupported(field: string): never {
  throw requestRefusals.error('api-parameter-unsupported', {
    field,
    expected: 'no such parameter',
    found: 'one',
  });
}

function refuseParameter(field: string, expected: string, found: string): never {
  throw requestRefusals.error('api-parameter', { field, expected, found });
}

function refuseModel(found: string): never {
  throw requestRefusals.error('api-model-unknown', {
    field: 'model',
    expected: 'a model that is served here',
    found: excerpt(found),
  });
}
