/** What the inference interface refuses, and how each refusal looks to a client of OpenAI's API (IA-10). */

import { defineRefusals, isRefusal } from '../../../attestation/core/refusal.ts';

export const requestRefusals = defineRefusals('usage', {
  'api-body': {
    means: 'The body of a request is not JSON, or too large.',
    hint: 'Send JSON with the content type application/json, within the limits of GET /policy.',
  },
  'api-parameter': {
    means: 'A parameter is missing, of another type, or outside its bounds.',
    hint: 'Correct the named parameter; the bounds stand in GET /policy.',
  },
  'api-parameter-unsupported': {
    means: 'A parameter is not known here, or closed by the policy.',
    hint: 'Leave the named parameter out.',
  },
  'api-model-unknown': {
    means: 'A request names a model that is not served here.',
    hint: 'Take the id that GET /v1/models answers.',
  },
  'api-route-unknown': {
    means: 'There is no such route.',
    hint: 'The routes stand in docs/spec/inference-api.md.',
  },
  'api-credential': {
    means: 'A request lacks the key of this agent, or has another one.',
    hint: 'Send the key that the agent was started with as a bearer token.',
  },
});

export const answerRefusals = defineRefusals('unacceptable', {
  'api-input-blocked': {
    means: 'The safety policy blocks a request.',
    hint: 'Ask something else; the policy stands at GET /policy.',
  },
  'api-lease-over': {
    means: 'The lease under which this model may run is over.',
    hint: 'Ask whoever runs this agent; it renews the lease or says why it cannot.',
  },
  'api-answer-time': {
    means: 'An answer took longer than the agent allows.',
    hint: 'Ask for fewer tokens.',
  },
});

/** The body of an error as OpenAI's clients read it. */
interface ErrorBody {
  readonly error: {
    readonly message: string;
    readonly type: string;
    readonly param: string | null;
    readonly code: string | null;
  };
}

export interface ErrorAnswer {
  readonly status: number;
  readonly body: ErrorBody;
  /** Whether the same request may succeed when it is sent again. */
  readonly retry: boolean;
}

interface ErrorShape {
  readonly status: number;
  readonly type: string;
  readonly code: string | null;
  readonly retry?: boolean;
  /** The field of the refusal names a parameter. */
  readonly param?: boolean;
}

const INVALID = 'invalid_request_error';
const SERVER = 'server_error';

const SHAPES: ReadonlyMap<string, ErrorShape> = new Map<string, ErrorShape>([
  ['api-body', { status: 400, type: INVALID, code: null }],
  ['api-parameter', { status: 400, type: INVALID, code: 'invalid_value', param: true }],
  ['api-parameter-unsupported', { status: 400, type: INVALID, code: 'unsupported_parameter', param: true }],
  ['api-model-unknown', { status: 404, type: INVALID, code: 'model_not_found', param: true }],
  ['api-route-unknown', { status: 404, type: INVALID, code: 'unknown_url' }],
  ['api-credential', { status: 401, type: INVALID, code: 'invalid_api_key' }],
  ['api-input-blocked', { status: 400, type: INVALID, code: 'content_filter' }],
  ['api-lease-over', { status: 403, type: 'permission_error', code: 'lease_over' }],
  ['api-answer-time', { status: 503, type: SERVER, code: 'timeout' }],
  ['engine-prompt-too-long', { status: 400, type: INVALID, code: 'context_length_exceeded', param: true }],
  ['engine-queue-full', { status: 429, type: 'rate_limit_error', code: 'queue_full', retry: true }],
  ['engine-generation-failed', { status: 500, type: SERVER, code: 'generation_failed' }],
]);

/** For whatever else ends an answer: an engine that is gone, or a mistake of ours. */
const UNAVAILABLE: ErrorShape = { status: 503, type: SERVER, code: 'engine_unavailable' };

/**
 * @param refusalText what the policy says to every blocked request; nothing of the verdict is told (IA-12)
 */
export function errorAnswer(error: unknown, refusalText: string): ErrorAnswer {
  const refusal = isRefusal(error) ? error.refusal : undefined;
  const shape = SHAPES.get(refusal?.code ?? '') ?? UNAVAILABLE;
  return {
    status: shape.status,
    retry: shape.retry ?? false,
    body: {
      error: {
        message: message(error, refusalText),
        type: shape.type,
        param: shape.param === true && refusal !== undefined ? refusal.field : null,
        code: shape.code,
      },
    },
  };
}

function message(error: unknown, refusalText: string): string {
  if (!isRefusal(error)) return 'The answer could not be completed.';
  const { code, field, expected, found, hint } = error.refusal;
  if (code === 'api-input-blocked') return refusalText;
  return `${field}: expected ${expected}, found ${found}. ${hint}`;
}
