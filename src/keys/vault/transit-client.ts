/**
 * The transit secrets engine of HashiCorp Vault and OpenBao over HTTPS (docs/spec/key-custody.md section 7): one
 * authority, one token, one key. Requests are bounded in size and time; those that failed without having been done are
 * made again a few times.
 */

import { Agent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

import { excerpt, fromUtf8, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { RefusalError } from '../../../attestation/core/refusal.ts';
import { AnswerTooLarge, exchangeOnce, failureKind, type Answer } from '../../platform/http-exchange.ts';
import { custodyReachRefusals, keyUseRefusals } from '../refusals.ts';
import { readSecretBytes } from '../secret-file.ts';

const MAX_ANSWER_BYTES = 256 * 1024;
const DEFAULT_TIMEOUT_MILLISECONDS = 5000;
const MAX_ATTEMPTS = 3;
const FIRST_WAIT_MILLISECONDS = 200;
const MAX_WAIT_MILLISECONDS = 2000;

/** A token of Vault is at most a few hundred visible characters; anything else would alter the request. */
const TOKEN = /^[\x21-\x7e]{1,4096}$/;

export interface TransitClientOptions {
  /** `https://host:port` */
  readonly address: string;
  /** PEM of the only authority that is accepted. */
  readonly authorityCertificate: string;
  /** Read for each request: whoever renews the token replaces the file. */
  readonly tokenFile: string;
  /** Path under which the engine is mounted. */
  readonly mount: string;
  readonly key: string;
  readonly namespace: string | null;
  readonly timeoutMilliseconds?: number;
  readonly pause?: (milliseconds: number) => Promise<unknown>;
}

/** One call. */
export interface TransitCall {
  readonly method: 'GET' | 'POST';
  /** Below the mount, for example `encrypt/NAME`. */
  readonly path: string;
  readonly body?: Readonly<Record<string, string | number | boolean>>;
  /** Whether doing it twice is as doing it once. Otherwise it is not repeated when its answer was lost. */
  readonly repeatable: boolean;
}

/** What the engine made of a call: its answer, or that it will not do that with what it was given. */
export type TransitOutcome =
  | { readonly outcome: 'done'; readonly body: Uint8Array }
  | { readonly outcome: 'not-found' }
  | { readonly outcome: 'invalid' };

export class TransitClient {
  /** For people: where the key is. */
  readonly place: string;
  private readonly options: TransitClientOptions;
  private readonly agent: Agent;

  constructor(options: TransitClientOptions) {
    this.options = options;
    this.place = `${options.address}/${options.mount}/${options.key}`;
    this.agent = new Agent({ keepAlive: true, ca: options.authorityCertificate, minVersion: 'TLSv1.2' });
  }

  /**
   * @throws RefusalError `custody-unavailable`, `custody-denied`, `custody-failed`, `key-file-exposed`, `file-*`
   */
  async call(call: TransitCall): Promise<TransitOutcome> {
    for (let attempt = 1; ; attempt += 1) {
      const result = await this.attempt(call);
      if ('outcome' in result) return result;
      if (!result.mayRepeat || attempt === MAX_ATTEMPTS) throw result.refusal;
      const wait = Math.max(result.waitMilliseconds, FIRST_WAIT_MILLISECONDS * 2 ** (attempt - 1));
      if (wait > MAX_WAIT_MILLISECONDS) throw result.refusal;
      await (this.options.pause ?? sleep)(wait);
    }
  }

  close(): void {
    this.agent.destroy();
  }

  private async attempt(call: TransitCall): Promise<TransitOutcome | FailedAttempt> {
    const { timeoutMilliseconds = DEFAULT_TIMEOUT_MILLISECONDS } = this.options;
    const signal = AbortSignal.timeout(timeoutMilliseconds);
    const headers = await this.headers();
    let answer: Answer;
    try {
      answer = await this.send(call, headers, signal);
    } catch (cause) {
      const refusal = this.refusalOf(cause, signal);
      const mayRepeat = call.repeatable && refusal.family === 'unavailable';
      return { refusal, mayRepeat, waitMilliseconds: 0 };
    }
    return this.judge(answer, call);
  }

  private async send(
    { method, path, body }: TransitCall,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<Answer> {
    const url = new URL(`/v1/${this.options.mount}/${path}`, this.options.address);
    const bounds = { signal, maxAnswerBytes: MAX_ANSWER_BYTES };
    if (body === undefined) return await exchangeOnce(url, this.agent, { method, headers }, bounds);
    const bytes = toUtf8(JSON.stringify(body));
    try {
      const sized = { ...headers, 'content-length': bytes.length };
      return await exchangeOnce(url, this.agent, { method, headers: sized, body: bytes }, bounds);
    } finally {
      // It holds the data key of an encryption.
      bytes.fill(0);
    }
  }

  private async headers(): Promise<Record<string, string>> {
    const { tokenFile, namespace } = this.options;
    const token = fromUtf8(await readSecretBytes(tokenFile), tokenFile).trimEnd();
    if (!TOKEN.test(token)) {
      const facts = { field: tokenFile, expected: 'a token in one line', found: 'something else' };
      throw keyUseRefusals.error('custody-denied', facts);
    }
    return {
      accept: 'application/json',
      'content-type': 'application/json',
      'x-vault-request': 'true',
      'x-vault-token': token,
      ...(namespace === null ? {} : { 'x-vault-namespace': namespace }),
    };
  }

  private judge({ status, body, headers }: Answer, call: TransitCall): TransitOutcome | FailedAttempt {
    if (status === 200 || status === 204) return { outcome: 'done', body };
    if (status === 404) return { outcome: 'not-found' };
    if (status === 400) return { outcome: 'invalid' };
    const found = `status ${status} to ${call.method} ${call.path}`;
    if (status === 401 || status === 403) {
      const facts = { field: this.place, expected: 'a token that may do this (KC-33)', found };
      throw keyUseRefusals.error('custody-denied', facts);
    }
    // 429 and 503 say that nothing was done; of any other failure of the server that is not known.
    if (status === 429 || status >= 500) {
      const mayRepeat = call.repeatable || status === 429 || status === 503;
      const refusal = this.unavailable(status === 503 ? `${found}: sealed, or not ready` : found);
      return { refusal, mayRepeat, waitMilliseconds: retryAfterMilliseconds(headers['retry-after']) };
    }
    const facts = { field: this.place, expected: 'an answer of the transit engine (KC-34)', found };
    throw keyUseRefusals.error('custody-failed', facts);
  }

  private refusalOf(cause: unknown, signal: AbortSignal): RefusalError {
    if (cause instanceof AnswerTooLarge) {
      const facts = { field: this.place, expected: `at most ${MAX_ANSWER_BYTES} bytes`, found: 'more' };
      return keyUseRefusals.error('custody-failed', facts);
    }
    const { kind, code } = failureKind(cause, signal);
    if (kind === 'untrusted') {
      const facts = {
        field: this.place,
        expected: 'TLS under the configured authority',
        found: excerpt(code),
      };
      return keyUseRefusals.error('custody-denied', facts, { cause });
    }
    return this.unavailable(kind === 'timeout' ? 'no answer in time' : excerpt(code), cause);
  }

  private unavailable(found: string, cause?: unknown): RefusalError {
    const facts = { field: this.place, expected: 'an answer', found };
    return custodyReachRefusals.error('custody-unavailable', facts, { cause });
  }
}

interface FailedAttempt {
  readonly refusal: RefusalError;
  readonly mayRepeat: boolean;
  /** That the service asked for; 0 where it did not. */
  readonly waitMilliseconds: number;
}

function retryAfterMilliseconds(text: string | undefined): number {
  return text !== undefined && /^[0-9]{1,6}$/.test(text) ? Number(text) * 1000 : 0;
}
