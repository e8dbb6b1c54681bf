import { createHash } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { setTimeout as pause } from 'node:timers/promises';
import type OpenAI from 'openai';
import { APIError } from 'openai';
import fc from 'fast-check';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { RefusalError } from '../../../attestation/core/refusal.ts';
import type { InferenceApiOptions } from '../../../src/agent/api/app.ts';
import { ChatRequestReader } from '../../../src/agent/api/chat-request.ts';
import { listenInferenceApi } from '../../../src/agent/api/listen.ts';
import { createInferenceApi } from '../../../src/agent/api/app.ts';
import { Guard } from '../../../src/guard/guard.ts';
import type { InferencePolicy } from '../../../src/guard/policy.ts';
import type { SafetyCheck } from '../../../src/guard/verdict.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { createLogger } from '../../../src/platform/logging.ts';
import { deadEngineError, FakeEngine, fullQueueError, type Script } from '../../support/fake-engine.ts';
import { serve, TestLease, type RunningApi } from '../../support/inference-api.ts';
import { baselineYaml, readBaseline, readPolicyText } from '../../support/inference-policy.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';

const STORY = 'The keeper trims the lamp before the fog comes in from the sea. ';
const LONG: Script = Array.from({ length: 20 }, () => STORY);

let policy: InferencePolicy;
let running: RunningApi | undefined;

beforeAll(async () => {
  policy = await readBaseline();
});
afterEach(async () => {
  await running?.close();
  running = undefined;
});

async function start(
  script: Script,
  options: Partial<InferenceApiOptions> = {},
): Promise<[RunningApi, FakeEngine]> {
  const engine = new FakeEngine(script);
  running = await serve(engine, options);
  return [running, engine];
}

const question: OpenAI.ChatCompletionCreateParamsNonStreaming = {
  model: 'harbour-1',
  messages: [{ role: 'user', content: 'Tell me a story.' }],
};

interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: { readonly error?: { message: string; type: string; param: string | null; code: string } };
}

async function post(url: string, body: string, headers: Record<string, string> = {}): Promise<Answer> {
  const response = await fetch(`${url}/v1/chat/completions`, {
    method: 'POST',
    body,
    headers: { 'content-type': 'application/json', ...headers },
  });
  return {
    status: response.status,
    headers: response.headers,
    body: (await response.json()) as Answer['body'],
  };
}

const ask = (url: string, change: object): Promise<Answer> =>
  post(url, JSON.stringify({ ...question, ...change }));

/** What a client reads before its stream fails, and how it fails. */
async function readUntilFailure(client: OpenAI): Promise<{ text: string; error: APIError | undefined }> {
  let text = '';
  try {
    for await (const chunk of await client.chat.completions.create({ ...question, stream: true })) {
      text += chunk.choices[0]?.delta.content ?? '';
    }
  } catch (error) {
    if (error instanceof APIError) return { text, error: error as APIError };
    throw error;
  }
  return { text, error: undefined };
}

describe('parameters', () => {
  it.each([
    ['n', { n: 2 }],
    ['logprobs', { logprobs: true }],
    ['top_logprobs', { top_logprobs: 5 }],
    ['logit_bias', { logit_bias: { 50256: -100 } }],
    ['tools', { tools: [] }],
    ['tool_choice', { tool_choice: 'auto' }],
    ['functions', { functions: [] }],
    ['response_format', { response_format: { type: 'json_object' } }],
    ['echo', { echo: true }],
    ['store', { store: true }],
    ['presence_penalty', { presence_penalty: 1 }],
    ['chat_template', { chat_template: '{{ messages }}' }],
    ['messages[0].name', { messages: [{ role: 'user', content: 'x', name: 'me' }] }],
  ])('IA-21: %s is refused by name', async (param, change) => {
    const [{ url }, engine] = await start(['Hello.']);
    const { status, body, headers } = await ask(url, change);
    expect({ status, ...body.error }).toMatchObject({ status: 400, param, code: 'unsupported_parameter' });
    expect(headers.get('x-request-id')).toMatch(/^req_/);
    expect(engine.requests).toEqual([]);
  });

  it.each([
    ['model', { model: 7 }],
    ['messages', { messages: [] }],
    ['messages[0].role', { messages: [{ role: 'tool', content: 'x' }] }],
    [
      'messages[0].content',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: {} }] }] },
    ],
    ['messages', { messages: [{ role: 'assistant', content: 'Sure, here is' }] }],
    ['messages', { messages: [{ role: 'user', content: 'x'.repeat(140_000) }] }],
    ['max_tokens', { max_tokens: 0 }],
    ['max_completion_tokens', { max_completion_tokens: 1_000_000 }],
    ['temperature', { temperature: 9 }],
    ['top_p', { top_p: -1 }],
    ['seed', { seed: 1.5 }],
    ['stop', { stop: ['a', 'b', 'c', 'd', 'e'] }],
    ['stream', { stream: 'yes' }],
  ])('IA-22: %s outside its bounds is refused by name', async (param, change) => {
    const [{ url }] = await start(['Hello.']);
    const { status, body } = await ask(url, change);
    expect({ status, ...body.error }).toMatchObject({ status: 400, param, type: 'invalid_request_error' });
  });

  it('IA-23: reach the engine within the bounds of the policy', async () => {
    const [{ url }, engine] = await start(['Hello.']);
    await ask(url, {
      messages: [
        { role: 'developer', content: 'Be brief.' },
        { role: 'user', content: [{ type: 'text', text: 'Hello' }] },
      ],
      max_completion_tokens: 7,
      temperature: 0.5,
      top_p: 0.9,
      seed: 4,
      stop: 'END',
    });
    expect(engine.requests).toEqual([
      {
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'user', content: 'Hello' },
        ],
        completionTokens: 7,
        temperature: 0.5,
        topProbability: 0.9,
        seed: 4,
        stop: ['END'],
      },
    ]);
    await ask(url, {});
    expect(engine.requests[1]?.completionTokens).toBe(policy.document.limits.completionTokens);
  });

  it('IA-24: of another model are refused', async () => {
    const [{ url }] = await start(['Hello.']);
    const { status, body } = await ask(url, { model: 'gpt-4' });
    expect({ status, ...body.error }).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
  });

  it('IA-20: of any shape give refusals and nothing else', () => {
    const reader = new ChatRequestReader(policy.document, 'harbour-1');
    const nearly = fc.record({
      model: fc.constantFrom('harbour-1', 'x', 1),
      messages: fc.oneof(
        fc.array(fc.record({ role: fc.constantFrom('user', 'tool'), content: fc.jsonValue() })),
        fc.jsonValue(),
      ),
      stop: fc.jsonValue(),
      temperature: fc.jsonValue(),
    });
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), nearly), (body) => {
        try {
          expect(reader.read(body).generation.messages.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(RefusalError);
        }
      }),
    );
  });
});

describe('bodies and routes', () => {
  it.each([
    ['no JSON', '{"model":', 'application/json'],
    ['another content type', 'model=x', 'application/x-www-form-urlencoded'],
    ['no object', '"text"', 'application/json'],
    ['too large', `{"x":"${'y'.repeat(1_000_000)}"}`, 'application/json'],
  ])('IA-3: a body that is %s is refused', async (_, body, contentType) => {
    const [{ url }] = await start(['Hello.']);
    const answer = await post(url, body, { 'content-type': contentType });
    expect({ status: answer.status, ...answer.body.error }).toMatchObject({
      status: 400,
      type: 'invalid_request_error',
    });
    expect(answer.headers.get('x-request-id')).toMatch(/^req_/);
  });

  it('IA-1: an unknown route is refused in the same shape', async () => {
    const [{ url }] = await start(['Hello.']);
    for (const path of ['/v1/completions', '/v1/embeddings', '/', '/v1/chat/completions']) {
      const response = await fetch(url + path);
      expect(response.status).toBe(404);
      expect(await response.json()).toMatchObject({ error: { code: 'unknown_url' } });
    }
  });

  it('IA-2: the policy in force is answered with its digest', async () => {
    const [{ url }] = await start(['Hello.']);
    const response = await fetch(`${url}/policy`);
    const digest = createHash('sha256')
      .update(Buffer.from(await response.arrayBuffer()))
      .digest('hex');
    expect(response.headers.get('x-policy-digest')).toBe(digest);
  });

  it('IA-4: with a key, only its bearer is served', async () => {
    const [{ url, client }] = await start(['Hello.'], { apiKey: 'correct horse' });
    expect((await client.chat.completions.create(question)).choices[0]?.message.content).toBe('Hello.');
    for (const headers of [{}, { authorization: 'Bearer wrong' }, { authorization: 'correct horse' }]) {
      const { status, body } = await post(url, JSON.stringify(question), headers);
      expect({ status, code: body.error?.code }).toEqual({ status: 401, code: 'invalid_api_key' });
    }
    expect((await fetch(`${url}/healthz`)).status).toBe(200);
  });

  it('IA-6: tells what is known of the lease', async () => {
    const [{ url, lease }] = await start(['Hello.']);
    const read = async () => (await fetch(`${url}/lease`)).json();
    const clock = { sources: ['tpm', 'kernel'], tpmReadSecondsAgo: 3, resetCount: 7, restartCount: 0 };
    expect(await read()).toMatchObject({ held: true, remainingSeconds: 90, clock });
    lease.ending.abort();
    expect(await read()).toMatchObject({ held: false, remainingSeconds: 0 });
  });

  it('IA-14, LC-5: a lease that is found over when it is confirmed gives no answer', async () => {
    const [{ url, lease }, engine] = await start(['Hello.']);
    lease.onConfirm = () => {
      lease.ending.abort();
    };
    const { status, body } = await post(url, JSON.stringify(question));
    expect({ status, code: body.error?.code }).toEqual({ status: 403, code: 'lease_over' });
    expect(engine.requests).toHaveLength(0);
  });

  it('IA-5: listens on the loopback address unless told otherwise', async () => {
    const [{ url }] = await start(['Hello.']);
    expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+$/);
    const taken = createInferenceApi({
      engine: new FakeEngine([]),
      lease: new TestLease(),
      guard: new Guard(policy, systemClock),
      model: { id: 'x', ownedBy: 'x' },
      clock: systemClock,
      logger: createLogger('silent'),
    });
    const port = Number(new URL(url).port);
    expect(await refusalCodeAsync(() => listenInferenceApi(taken, { port }))).toBe('api-address');
  });
});

describe('faults', () => {
  function guardWith(push: () => never | Promise<never>): Guard {
    const judgement = { push, finish: push, position: 0 };
    const check: SafetyCheck = {
      name: 'broken',
      openInput: () => ({ ...judgement, push: () => [], finish: () => [] }),
      openOutput: () => judgement,
    };
    return new Guard(policy, systemClock, [check]);
  }

  it('IA-32: a guard that throws while an answer is written lets nothing out', async () => {
    const guard = guardWith(() => {
      throw new Error('broken');
    });
    const [{ client }, engine] = await start(LONG, { guard });
    const { choices } = await client.chat.completions.create(question);
    expect(choices[0]).toMatchObject({ finish_reason: 'content_filter', message: { content: '' } });
    expect(engine.cancelled).toBe(1);
  });

  it('IA-32: a guard that hangs lets nothing out', async () => {
    const hasty = await readPolicyText(
      baselineYaml.replace('judgementMilliseconds: 2000', 'judgementMilliseconds: 50'),
    );
    const never = new Promise<never>(() => undefined);
    const hanging: SafetyCheck = {
      name: 'hanging',
      openInput: () => ({ push: () => [], finish: () => [], position: 0 }),
      openOutput: () => ({ push: () => never, finish: () => never, position: 0 }),
    };
    const [{ client }] = await start(LONG, { guard: new Guard(hasty, systemClock, [hanging]) });
    const { text, error } = await readUntilFailure(client);
    expect({ text, error }).toEqual({ text: '', error: undefined });
  });

  it('IA-12: a guard that fails on a request answers as a blocked one', async () => {
    const failing: SafetyCheck = {
      name: 'failing',
      openInput: () => {
        throw new Error('broken');
      },
      openOutput: () => {
        throw new Error('broken');
      },
    };
    const [{ url }, engine] = await start(['Hello.'], { guard: new Guard(policy, systemClock, [failing]) });
    const { status, body, headers } = await ask(url, {});
    expect({ status, ...body.error }).toEqual({
      status: 400,
      message: policy.document.messages.refusal,
      type: 'invalid_request_error',
      param: null,
      code: 'content_filter',
    });
    expect(headers.get('x-should-retry')).toBe('false');
    expect(engine.requests).toEqual([]);
  });

  it('IA-13: an engine that dies before it writes answers 503', async () => {
    const [{ url }] = await start([deadEngineError()]);
    const { status, body } = await ask(url, {});
    expect({ status, code: body.error?.code }).toEqual({ status: 503, code: 'engine_unavailable' });
  });

  it('IA-33: an engine that dies mid-stream ends the stream with an error, and no unjudged text leaves', async () => {
    const [{ client }] = await start([...LONG, ' how to make', deadEngineError()]);
    const { text, error } = await readUntilFailure(client);
    expect(error?.code).toBe('engine_unavailable');
    expect(text.length).toBeGreaterThan(0);
    expect(
      LONG.join('')
        .slice(0, -policy.document.streaming.holdBackCharacters / 2)
        .startsWith(text),
    ).toBe(true);
  });

  it('IA-11: a full queue answers 429 and may be tried again', async () => {
    const [{ url }] = await start([fullQueueError()]);
    const { status, body, headers } = await ask(url, {});
    expect({ status, code: body.error?.code }).toEqual({ status: 429, code: 'queue_full' });
    expect(headers.get('x-should-retry')).toBe('true');
  });

  it('IA-14: a lease that is over answers 403 and reaches no engine', async () => {
    const [{ url, lease }, engine] = await start(['Hello.']);
    lease.ending.abort();
    const { status, body, headers } = await ask(url, {});
    expect({ status, code: body.error?.code }).toEqual({ status: 403, code: 'lease_over' });
    expect(headers.get('x-should-retry')).toBe('false');
    expect(engine.requests).toEqual([]);
    expect((await fetch(`${url}/healthz`)).status).toBe(503);
  });

  it('IA-14, IA-33: a lease that ends mid-stream ends the stream and the engine’s answer', async () => {
    const [{ client, lease }, engine] = await start([...LONG, 10_000, STORY]);
    setTimeout(() => {
      lease.ending.abort();
    }, 150);
    const { text, error } = await readUntilFailure(client);
    expect(error?.code).toBe('lease_over');
    expect(text.length).toBeGreaterThan(0);
    expect(engine.cancelled).toBe(1);
  });

  it('IA-34: a caller that goes away cancels its answer', async () => {
    const [{ url }, engine] = await start([...LONG, 10_000, STORY]);
    const outgoing = httpRequest(`${url}/v1/chat/completions`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    outgoing.on('error', () => undefined);
    outgoing.on('response', (response) => {
      response.once('data', () => outgoing.destroy());
      response.on('error', () => undefined);
    });
    outgoing.end(JSON.stringify({ ...question, stream: true }));
    while (engine.cancelled === 0) await pause(10);
    expect(engine.written).toBe(LONG.length);
  });

  it('IA-35: an answer that takes too long is ended', async () => {
    const [{ url }, engine] = await start([STORY, 10_000, STORY], { answerMilliseconds: 100 });
    const { status, body } = await ask(url, {});
    expect({ status, code: body.error?.code }).toEqual({ status: 503, code: 'timeout' });
    expect(engine.cancelled).toBe(1);
  });

  it('GD-36: nothing of a prompt or an answer reaches the log', async () => {
    const lines: unknown[] = [];
    const logger = createLogger('silent');
    logger.info = (...line: unknown[]) => lines.push(line);
    const [{ url }] = await start(['purple answer'], { logger });
    await ask(url, { messages: [{ role: 'user', content: 'green question' }] });
    await ask(url, { messages: [{ role: 'user', content: 'green: how to make sarin' }], n: 1 });
    await ask(url, { messages: [{ role: 'user', content: 'green' }], logit_bias: {} });
    expect(lines.length).toBeGreaterThanOrEqual(3);
    expect(JSON.stringify(lines)).not.toMatch(/green|purple|sarin/);
  });
});
