/** The inference interface: the routes of docs/spec/inference-api.md. */

import { createHash, randomUUID, timingSafeEqual } from 'node:crypto';
import express, {
  type ErrorRequestHandler,
  type Express,
  type Request,
  type RequestHandler,
  type Response,
} from 'express';
import { toHex } from '../../../attestation/core/bytes.ts';
import { isRefusal, type RefusalError } from '../../../attestation/core/refusal.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/logging.ts';
import { answer, type AnswerEvent, type AnswerParts } from './answer.ts';
import { ChatRequestReader, type ChatRequest } from './chat-request.ts';
import {
  closingChunk,
  completionBody,
  openingChunk,
  textChunk,
  usageChunk,
  type ResponseHead,
} from './chat-response.ts';
import { EventStream } from './event-stream.ts';
import { answerRefusals, errorAnswer, requestRefusals } from './refusals.ts';

interface ServedModel {
  /** As callers name it. */
  readonly id: string;
  readonly ownedBy: string;
}

export interface InferenceApiOptions extends AnswerParts {
  readonly model: ServedModel;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Asked of every caller as a bearer token; without one, whoever reaches the port may ask. */
  readonly apiKey?: string;
  readonly answerMilliseconds?: number;
}

const DEFAULT_ANSWER_MILLISECONDS = 10 * 60 * 1000;
/** Of a body beside the text of its messages, which JSON may write with six bytes for one. */
const BODY_OVERHEAD_BYTES = 64 * 1024;
const JSON_EXPANSION = 6;

/** The routes as an application, for a server of the caller's choice; see `listen.ts`. */
export function createInferenceApi(options: InferenceApiOptions): Express {
  const { guard, model, apiKey } = options;
  const { limits, sampling } = guard.policy.document;
  const reader = new ChatRequestReader({ limits, sampling }, model.id);
  const bodyLimitBytes = JSON_EXPANSION * limits.promptBytes + BODY_OVERHEAD_BYTES;

  const app = express();
  app.disable('x-powered-by');
  app.disable('etag');
  app.use(identifyRequest(options.logger));
  app.get('/healthz', health(options));
  if (apiKey !== undefined) app.use(requireKey(apiKey));
  app.get('/policy', sendPolicy(options));
  app.get('/lease', (_, response) => {
    response.json(options.lease.state);
  });
  app.get('/v1/models', (_, response) => {
    response.json({ object: 'list', data: [modelBody(options)] });
  });
  app.get('/v1/models/:id', (request, response) => {
    if (request.params.id !== model.id) throw unknownModel();
    response.json(modelBody(options));
  });
  app.post('/v1/chat/completions', express.json({ limit: bodyLimitBytes }), async (request, response) => {
    await sendAnswer(options, reader.read(request.body), response);
  });
  app.use((request) => {
    throw requestRefusals.error('api-route-unknown', {
      field: 'route',
      expected: 'a route of this interface',
      found: request.method,
    });
  });
  app.use(sendError(options));
  return app;
}

/** Every answer names its request; the log names the same, and nothing of what was asked or answered (GD-36). */
function identifyRequest(logger: Logger): RequestHandler {
  return (request, response, next) => {
    const requestId = `req_${randomUUID()}`;
    response.setHeader('x-request-id', requestId);
    response.on('close', () => {
      logger.info({ requestId, method: request.method, status: response.statusCode }, 'inference request');
    });
    next();
  };
}

function requireKey(apiKey: string): RequestHandler {
  const expected = sha256(`Bearer ${apiKey}`);
  return (request, _, next) => {
    if (timingSafeEqual(sha256(request.headers.authorization ?? ''), expected)) {
      next();
      return;
    }
    throw requestRefusals.error('api-credential', {
      field: 'authorization',
      expected: 'the key of this agent as a bearer token',
      found: request.headers.authorization === undefined ? 'none' : 'another',
    });
  };
}

function sha256(text: string): Buffer {
  return createHash('sha256').update(text).digest();
}

function health({ engine, lease }: InferenceApiOptions): RequestHandler {
  let engineEnded = false;
  void engine.ended.then(() => {
    engineEnded = true;
  });
  return (_, response) => {
    const healthy = lease.isHeld && !engineEnded;
    response.status(healthy ? 200 : 503).json({ lease: lease.isHeld, engine: !engineEnded });
  };
}

function sendPolicy({ guard }: InferenceApiOptions): RequestHandler {
  return (_, response) => {
    response.setHeader('content-type', 'application/json');
    response.setHeader('x-policy-digest', toHex(guard.policy.digest));
    response.end(guard.policy.canonical);
  };
}

function modelBody({ model }: InferenceApiOptions): object {
  return { id: model.id, object: 'model', created: 0, owned_by: model.ownedBy };
}

function unknownModel(): RefusalError {
  return requestRefusals.error('api-model-unknown', {
    field: 'model',
    expected: 'a model that is served here',
    found: 'another',
  });
}

async function sendAnswer(
  options: InferenceApiOptions,
  request: ChatRequest,
  response: Response,
): Promise<void> {
  const gone = new AbortController();
  response.on('close', () => {
    gone.abort();
  });
  const timeUp = AbortSignal.timeout(options.answerMilliseconds ?? DEFAULT_ANSWER_MILLISECONDS);
  const events = answer(options, request, AbortSignal.any([gone.signal, timeUp]));
  const head = {
    id: `chatcmpl-${randomUUID()}`,
    created: options.clock.posixSeconds(),
    model: options.model.id,
  };
  try {
    if (request.stream)
      await sendStream(options, request, head, events, new EventStream(response, gone.signal));
    else await sendWhole(options, head, events, response);
  } catch (error) {
    // Nobody is there to be answered.
    if (gone.signal.aborted) return;
    throw timeUp.aborted ? answerTooLong() : error;
  }
}

function answerTooLong(): RefusalError {
  return answerRefusals.error('api-answer-time', {
    field: 'answer',
    expected: 'an end in time',
    found: 'none',
  });
}

async function sendWhole(
  { guard }: InferenceApiOptions,
  head: ResponseHead,
  events: AsyncIterable<AnswerEvent>,
  response: Response,
): Promise<void> {
  let content = '';
  for await (const event of events) {
    if (event.kind === 'text') content += event.text;
    else response.json(completionBody(head, content, event, guard.policy.document.messages.refusal));
  }
}

async function sendStream(
  { guard }: InferenceApiOptions,
  { includeUsage }: ChatRequest,
  head: ResponseHead,
  events: AsyncIterable<AnswerEvent>,
  stream: EventStream,
): Promise<void> {
  const refusalText = guard.policy.document.messages.refusal;
  try {
    for await (const event of events) {
      if (!stream.begun) await stream.send(openingChunk(head));
      if (event.kind === 'text') {
        await stream.send(textChunk(head, event.text));
        continue;
      }
      await stream.send(closingChunk(head, event.finishReason, refusalText));
      if (includeUsage) await stream.send(usageChunk(head, event.usage));
    }
    await stream.finish();
  } catch (error) {
    // Once a stream has begun, its status is spent: clients read the error as an event, and no end mark follows.
    if (!stream.begun) throw error;
    await stream.send(errorAnswer(error, refusalText).body);
    throw error;
  }
}

function sendError({ guard, logger }: InferenceApiOptions): ErrorRequestHandler {
  return (thrown: unknown, _request: Request, response: Response, _next) => {
    const error = bodyRefusal(thrown);
    const { status, body, retry } = errorAnswer(error, guard.policy.document.messages.refusal);
    const code = isRefusal(error) ? error.refusal.code : 'unexpected';
    logger.info({ requestId: response.getHeader('x-request-id'), code }, 'inference refusal');
    if (response.headersSent) {
      response.end();
      return;
    }
    response.setHeader('x-should-retry', String(retry));
    response.status(status).json(body);
  };
}

/** What the body parser throws names a status and a type, never one of our codes. */
function bodyRefusal(error: unknown): unknown {
  if (isRefusal(error) || !(error instanceof Error) || !('type' in error)) return error;
  return requestRefusals.error(
    'api-body',
    { field: 'body', expected: 'JSON within the limits', found: String(error.type) },
    { cause: error },
  );
}
