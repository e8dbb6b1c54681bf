/**
 * A vendor's service that answers anybody and refuses those who ask often: requests go out one at a time, each thing is
 * asked for once, and a request to wait is honoured for all of them. What a service answers is not checked here.
 */

import { Agent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

import { excerpt } from '../../../attestation/core/bytes.ts';
import type { RefusalError, RefusalFacts } from '../../../attestation/core/refusal.ts';
import { systemClock, type Clock } from '../clock.ts';
import { type Answer, AnswerTooLarge, type Exchange, exchangeOnce, failureKind } from '../http-exchange.ts';

/** What can go wrong with a service: each becomes a refusal with a code of the service's own. */
export type ServiceFailure = 'unreachable' | 'timeout' | 'busy' | 'not-trusted' | 'answer';

export interface ServiceIdentity {
  /** For refusals. */
  readonly name: string;
  readonly refusal: (failure: ServiceFailure, facts: RefusalFacts, options?: ErrorOptions) => RefusalError;
}

export interface ServiceOptions {
  /** PEM of the only authority that is accepted; by default those that Node trusts. */
  readonly authorityCertificate?: string;
  /** Time for one exchange. */
  readonly timeoutMilliseconds?: number;
  readonly clock?: Clock;
  readonly pause?: (milliseconds: number) => Promise<unknown>;
}

/** One thing that a service is asked for. */
export interface ServiceQuestion {
  /** The same for the same thing, and for nothing else. */
  readonly name: string;
  readonly url: URL;
  readonly exchange: Exchange;
  readonly maxAnswerBytes: number;
}

const DEFAULT_TIMEOUT_MILLISECONDS = 15_000;
const MAX_ATTEMPTS = 4;
/** Waits double from the first to the last; a longer wait that the service asks for ends the request instead. */
const FIRST_WAIT_MILLISECONDS = 1000;
const MAX_WAIT_MILLISECONDS = 30_000;
/** How long nothing is asked after all attempts at one thing failed. What waits for its turn then ends at once. */
const GIVE_UP_MILLISECONDS = 60_000;
/** How long the service is not asked again for what it did not have. */
const NEGATIVE_MILLISECONDS = 10 * 60 * 1000;
/** Different things that wait for their turn; evidence of unknown machines must not fill the memory. */
const MAX_PENDING = 32;
const MAX_NEGATIVE = 1024;

const OK = 200;
const NOT_FOUND = 404;
const TOO_MANY_REQUESTS = 429;

/** Asks one service. Nothing that it says is kept here but that it has something not. */
export class ServiceClient {
  private readonly identity: ServiceIdentity;
  private readonly agent: Agent;
  private readonly timeoutMilliseconds: number;
  private readonly clock: Clock;
  private readonly pause: (milliseconds: number) => Promise<unknown>;
  /** What is being fetched, by name: who asks for the same thing waits for the same answer. */
  private readonly pending = new Map<string, Promise<Uint8Array | undefined>>();
  /** Until when what the service did not have is not asked for again. */
  private readonly absentUntil = new Map<string, number>();
  private quietUntil = 0;
  private lastTurn: Promise<unknown> = Promise.resolve();

  constructor(identity: ServiceIdentity, options: ServiceOptions = {}) {
    this.identity = identity;
    this.timeoutMilliseconds = options.timeoutMilliseconds ?? DEFAULT_TIMEOUT_MILLISECONDS;
    this.clock = options.clock ?? systemClock;
    this.pause = options.pause ?? sleep;
    const { authorityCertificate } = options;
    this.agent = new Agent({
      minVersion: 'TLSv1.2',
      ...(authorityCertificate === undefined ? {} : { ca: authorityCertificate }),
    });
  }

  /** The body of the answer; undefined when the service has no such thing. @throws RefusalError of the service */
  ask(question: ServiceQuestion): Promise<Uint8Array | undefined> {
    const { name } = question;
    if ((this.absentUntil.get(name) ?? 0) > this.clock.monotonicMilliseconds())
      return Promise.resolve(undefined);
    const underway = this.pending.get(name);
    if (underway !== undefined) return underway;
    if (this.pending.size >= MAX_PENDING)
      return Promise.reject(this.busy(`${this.pending.size} requests waiting`));
    const answer = this.takeTurn(() => this.fetch(question)).finally(() => this.pending.delete(name));
    this.pending.set(name, answer);
    return answer;
  }

  /** Runs work after all that was asked for earlier, whatever became of it. */
  private takeTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.lastTurn.then(work, work);
    this.lastTurn = turn;
    return turn;
  }

  private async fetch(question: ServiceQuestion): Promise<Uint8Array | undefined> {
    let failure: RefusalError | undefined;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      await this.keepQuiet();
      const answer = await this.exchange(question);
      if ('status' in answer && answer.status === OK) return answer.body;
      if ('status' in answer && answer.status === NOT_FOUND) {
        this.rememberAbsence(question);
        return undefined;
      }
      failure = 'status' in answer ? this.refusalOfStatus(answer) : answer;
      if (failure.family !== 'unavailable') throw failure;
      const asked = 'status' in answer ? retryAfterMilliseconds(answer, this.clock) : 0;
      this.waitFrom(Math.max(asked, FIRST_WAIT_MILLISECONDS * 2 ** attempt));
    }
    this.waitFrom(GIVE_UP_MILLISECONDS);
    throw failure ?? this.busy('no attempt');
  }

  /** Jitter keeps servers that started together from asking together. */
  private waitFrom(milliseconds: number): void {
    const jitter = Math.random() * FIRST_WAIT_MILLISECONDS;
    this.quietUntil = this.clock.monotonicMilliseconds() + milliseconds + jitter;
  }

  private async keepQuiet(): Promise<void> {
    const wait = this.quietUntil - this.clock.monotonicMilliseconds();
    if (wait > MAX_WAIT_MILLISECONDS) throw this.busy(`a wait of ${Math.ceil(wait / 1000)} seconds`);
    if (wait > 0) await this.pause(wait);
  }

  private rememberAbsence({ name }: ServiceQuestion): void {
    const [oldest] = this.absentUntil.keys();
    if (this.absentUntil.size >= MAX_NEGATIVE && oldest !== undefined) this.absentUntil.delete(oldest);
    this.absentUntil.set(name, this.clock.monotonicMilliseconds() + NEGATIVE_MILLISECONDS);
  }

  private async exchange(question: ServiceQuestion): Promise<Answer | RefusalError> {
    const { url, exchange, maxAnswerBytes } = question;
    const signal = AbortSignal.timeout(this.timeoutMilliseconds);
    try {
      return await exchangeOnce(url, this.agent, exchange, { signal, maxAnswerBytes });
    } catch (cause) {
      if (cause instanceof AnswerTooLarge) throw this.badAnswer(`at most ${maxAnswerBytes} bytes`, 'more');
      return this.refusalOfFailure(cause, signal);
    }
  }

  private refusalOfFailure(cause: unknown, signal: AbortSignal): RefusalError {
    const { kind, code } = failureKind(cause, signal);
    const facts = { field: this.identity.name, expected: 'a complete answer', found: excerpt(code) };
    return this.identity.refusal(kind === 'untrusted' ? 'not-trusted' : kind, facts, { cause });
  }

  private refusalOfStatus({ status }: Answer): RefusalError {
    if (status === TOO_MANY_REQUESTS || status >= 500) return this.busy(`status ${status}`);
    return this.badAnswer(`status ${OK} or ${NOT_FOUND}`, `status ${status}`);
  }

  private badAnswer(expected: string, found: string): RefusalError {
    return this.identity.refusal('answer', { field: this.identity.name, expected, found });
  }

  private busy(found: string): RefusalError {
    return this.identity.refusal('busy', { field: this.identity.name, expected: 'an answer', found });
  }
}

/** Retry-After (RFC 9110, section 10.2.3): seconds, or a date. What cannot be read does not count. */
function retryAfterMilliseconds({ headers }: Answer, clock: Clock): number {
  const text = headers['retry-after'] ?? '';
  if (/^[0-9]{1,6}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? 0 : Math.max(0, date - clock.posixSeconds() * 1000);
}
