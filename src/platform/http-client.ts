/**
 * The client side of the release protocol: canonical JSON over TLS 1.3, to a server whose authority is pinned
 * (docs/spec/release-protocol.md, RP-1 to RP-4). Everything that the server or the network controls is bounded, in
 * size and in time, and every failure is a refusal.
 */

import { Agent } from 'node:https';

import { excerpt } from '../../attestation/core/bytes.ts';
import { decodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { defineRefusals, RefusalError } from '../../attestation/core/refusal.ts';
import { type Answer, AnswerTooLarge, exchangeOnce, failureKind } from './http-exchange.ts';
import { familyOfProblem, PROBLEM_MEDIA_TYPE, problemSchema } from './problem.ts';
import { readShape } from './shape.ts';

export const serverAddressRefusals = defineRefusals('usage', {
  'server-address': {
    means: 'The address of the server is not one that can be used.',
    hint: 'Give the address as https://host:port without a path.',
  },
});

export const serverReachRefusals = defineRefusals('unavailable', {
  'server-unreachable': {
    means: 'The key-release server did not answer.',
    hint: 'Check that the server runs, that its address is right, and that this machine can reach it.',
  },
  'server-timeout': {
    means: 'The key-release server did not answer completely in time.',
    hint: 'Try again; if it goes on, ask the operator of the server.',
  },
});

export const serverTrustRefusals = defineRefusals('inauthentic', {
  'server-not-trusted': {
    means: 'The server did not prove over TLS 1.3 that it is the one that the pinned authority names.',
    hint: 'Check the address and the authority certificate of the profile; do not work round this.',
  },
});

export const serverAnswerRefusals = defineRefusals('malformed', {
  'server-answer': {
    means: 'The server answered something that the release protocol does not have.',
    hint: 'Check that the address is that of a Weightgate server of the same version.',
  },
});

const JSON_MEDIA_TYPE = 'application/json';
/** Larger than any answer of the protocol: a grant holds one entry of 64 KiB in base64 and a proof. */
const DEFAULT_MAX_ANSWER_BYTES = 1024 * 1024;
const DEFAULT_TIMEOUT_MILLISECONDS = 15_000;
const NOT_FOUND = 404;

export interface HttpClientOptions {
  /** `https://host:port`; comes from the operator. */
  readonly address: string;
  /** PEM of the only authority that is accepted (RP-4). */
  readonly authorityCertificate: string;
  /** Time for one whole exchange. */
  readonly timeoutMilliseconds?: number;
  readonly maxAnswerBytes?: number;
}

/** Talks to one server. Every method refuses as `requestOnce` says. */
export interface HttpClient {
  get(path: string): Promise<JsonValue>;
  /** @param body canonical JSON, as `encodeCanonicalJson` and `encodeEnvelope` write it */
  post(path: string, body: Uint8Array): Promise<JsonValue>;
  /**
   * The answer as it is, undefined where the server has nothing (status 404): for the log's checkpoint and tiles,
   * which are not JSON.
   *
   * @param maxBytes of the answer, in place of `maxAnswerBytes`
   */
  findBytes(path: string, maxBytes: number): Promise<Uint8Array | undefined>;
  close(): void;
}

interface Exchange {
  readonly method: 'GET' | 'POST';
  readonly path: string;
  readonly body?: Uint8Array;
}

type Limits = Required<Pick<HttpClientOptions, 'timeoutMilliseconds' | 'maxAnswerBytes'>>;

/**
 * @throws RefusalError `server-address`; its methods throw `server-unreachable`, `server-timeout`,
 *   `server-not-trusted`, `server-answer`, `json-*`, `shape-mismatch`, and what the server itself refuses
 */
export function createHttpClient(options: HttpClientOptions): HttpClient {
  const base = readAddress(options.address);
  const limits = {
    timeoutMilliseconds: options.timeoutMilliseconds ?? DEFAULT_TIMEOUT_MILLISECONDS,
    maxAnswerBytes: options.maxAnswerBytes ?? DEFAULT_MAX_ANSWER_BYTES,
  };
  // `ca` replaces the system's list; `minVersion` leaves nothing below TLS 1.3 to negotiate.
  const agent = new Agent({ keepAlive: true, ca: options.authorityCertificate, minVersion: 'TLSv1.3' });
  const send = async (exchange: Exchange): Promise<Answer> =>
    accept(await requestOnce(base, agent, exchange, limits), exchange, limits);
  const find = async (path: string, maxAnswerBytes: number): Promise<Uint8Array | undefined> => {
    const exchange = { method: 'GET', path } as const;
    const bounds = { ...limits, maxAnswerBytes };
    const answer = await requestOnce(base, agent, exchange, bounds);
    return answer.status === NOT_FOUND ? undefined : accept(answer, exchange, bounds).body;
  };
  return {
    get: async (path) => readJson(await send({ method: 'GET', path }), path, limits),
    post: async (path, body) => readJson(await send({ method: 'POST', path, body }), path, limits),
    findBytes: find,
    close: () => {
      agent.destroy();
    },
  };
}

function readAddress(address: string): URL {
  const url = URL.parse(address);
  if (url?.protocol !== 'https:' || url.pathname !== '/' || url.search !== '' || url.username !== '') {
    throw serverAddressRefusals.error('server-address', {
      field: 'server',
      expected: 'https://host:port',
      found: excerpt(address),
    });
  }
  return url;
}

async function requestOnce(base: URL, agent: Agent, exchange: Exchange, limits: Limits): Promise<Answer> {
  const signal = AbortSignal.timeout(limits.timeoutMilliseconds);
  const { method, path, body } = exchange;
  const headers = {
    accept: `${JSON_MEDIA_TYPE}, ${PROBLEM_MEDIA_TYPE}, */*`,
    ...(body === undefined ? {} : { 'content-type': JSON_MEDIA_TYPE, 'content-length': body.length }),
  };
  const message = { method, headers, ...(body === undefined ? {} : { body }) };
  try {
    const bounds = { signal, maxAnswerBytes: limits.maxAnswerBytes };
    return await exchangeOnce(new URL(path, base), agent, message, bounds);
  } catch (cause) {
    if (cause instanceof AnswerTooLarge)
      refuseAnswer('body', `at most ${limits.maxAnswerBytes} bytes`, 'more');
    throw refusalOfFailure(base, cause, signal);
  }
}

/** Lets a success through and turns the server's own refusal into ours. Redirections are not followed. */
function accept(answer: Answer, exchange: Exchange, limits: Limits): Answer {
  if (answer.status === 200 || answer.status === 201) return answer;
  if (mediaTypeOf(answer) !== PROBLEM_MEDIA_TYPE) {
    refuseAnswer(exchange.path, 'status 200 or a problem', `status ${answer.status}`);
  }
  const document = decodeCanonicalJson(answer.body, { maxBytes: limits.maxAnswerBytes }, 'problem');
  const problem = readShape(problemSchema, document, 'problem');
  const [refusal] = problem.refusals;
  if (refusal === undefined) refuseAnswer(exchange.path, 'a refusal', 'none');
  throw new RefusalError(familyOfProblem(problem), refusal);
}

function readJson(answer: Answer, path: string, limits: Limits): JsonValue {
  if (mediaTypeOf(answer) !== JSON_MEDIA_TYPE) {
    refuseAnswer(path, JSON_MEDIA_TYPE, excerpt(answer.headers['content-type'] ?? 'no media type'));
  }
  return decodeCanonicalJson(answer.body, { maxBytes: limits.maxAnswerBytes }, 'answer');
}

function mediaTypeOf(answer: Answer): string {
  return (answer.headers['content-type'] ?? '').split(';', 1)[0]?.trim().toLowerCase() ?? '';
}

function refuseAnswer(field: string, expected: string, found: string): never {
  throw serverAnswerRefusals.error('server-answer', { field, expected, found });
}

function refusalOfFailure(base: URL, cause: unknown, signal: AbortSignal): RefusalError {
  const { kind, code } = failureKind(cause, signal);
  if (kind === 'timeout') {
    const facts = { field: base.host, expected: 'an answer in time', found: 'none' };
    return serverReachRefusals.error('server-timeout', facts, { cause });
  }
  if (kind === 'untrusted') {
    const facts = { field: base.host, expected: 'TLS 1.3 under the pinned authority', found: excerpt(code) };
    return serverTrustRefusals.error('server-not-trusted', facts, { cause });
  }
  const facts = { field: base.host, expected: 'a connection and an answer', found: excerpt(code) };
  return serverReachRefusals.error('server-unreachable', facts, { cause });
}
