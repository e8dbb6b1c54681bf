/**
 * AMD's key distribution service (AMD 57230, "VCEK and VLEK Certificate and KDS Interface Specification"). It answers
 * anybody and refuses those who ask often, so requests go out one at a time, each thing is asked for once, and a
 * request to wait is honoured for all of them. What it answers is not checked here: see checked-source.ts.
 */

import { Agent } from 'node:https';
import { setTimeout as sleep } from 'node:timers/promises';

import { excerpt } from '../../../attestation/core/bytes.ts';
import { defineRefusals, type RefusalError } from '../../../attestation/core/refusal.ts';
import { systemClock, type Clock } from '../clock.ts';
import { type Answer, AnswerTooLarge, exchangeOnce, failureKind } from '../http-exchange.ts';
import {
  chipIdText,
  collateralName,
  MAX_COLLATERAL_BYTES,
  type CollateralItem,
  type CollateralSource,
} from './source.ts';

export const kdsReachRefusals = defineRefusals('unavailable', {
  'kds-unreachable': {
    means: 'AMD’s key distribution service did not answer.',
    hint: 'Check that this machine can reach kdsintf.amd.com, or import the certificates by hand.',
  },
  'kds-timeout': {
    means: 'AMD’s key distribution service did not answer completely in time.',
    hint: 'Try again later, or import the certificates by hand.',
  },
  'kds-busy': {
    means: 'AMD’s key distribution service asks to be left alone, or too much is to be fetched at once.',
    hint: 'Wait some minutes; what was fetched once is kept.',
  },
});

export const kdsAnswerRefusals = defineRefusals('inauthentic', {
  'kds-not-trusted': {
    means: 'What answered did not prove over TLS to be AMD’s key distribution service.',
    hint: 'Check the way out of this network; do not work round this.',
  },
  'kds-answer': {
    means: 'AMD’s key distribution service answered something that it never should.',
    hint: 'Check for a proxy that writes answers of its own, or import the certificates by hand.',
  },
});

export const KDS_ADDRESS = 'https://kdsintf.amd.com';

export interface AmdKdsOptions {
  readonly address?: string;
  /** PEM of the only authority that is accepted; by default those that Node trusts. */
  readonly authorityCertificate?: string;
  /** Time for one exchange. */
  readonly timeoutMilliseconds?: number;
  readonly clock?: Clock;
  readonly pause?: (milliseconds: number) => Promise<unknown>;
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
/** Different things that wait for their turn; evidence of unknown chips must not fill the memory. */
const MAX_PENDING = 32;
const MAX_NEGATIVE = 1024;

const OK = 200;
const NOT_FOUND = 404;
const TOO_MANY_REQUESTS = 429;

/** The path of an item, as AMD 57230 gives it. */
export function kdsPath(item: CollateralItem): string {
  if (item.kind !== 'vcek') {
    return `/${item.signer}/v1/${item.line}/${item.kind === 'chain' ? 'cert_chain' : 'crl'}`;
  }
  const { fmc, bootLoader, tee, snp, microcode } = item.tcb;
  const first = fmc === undefined ? [] : [`fmcSPL=${fmc}`];
  const levels = [...first, `blSPL=${bootLoader}`, `teeSPL=${tee}`, `snpSPL=${snp}`, `ucodeSPL=${microcode}`];
  return `/vcek/v1/${item.line}/${chipIdText(item)}?${levels.join('&')}`;
}

/** Asks the service. Nothing that it says is kept here but that it has something not. */
export class AmdKds implements CollateralSource {
  private readonly address: string;
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

  constructor(options: AmdKdsOptions = {}) {
    this.address = options.address ?? KDS_ADDRESS;
    this.timeoutMilliseconds = options.timeoutMilliseconds ?? DEFAULT_TIMEOUT_MILLISECONDS;
    this.clock = options.clock ?? systemClock;
    this.pause = options.pause ?? sleep;
    const { authorityCertificate } = options;
    this.agent = new Agent({
      minVersion: 'TLSv1.2',
      ...(authorityCertificate === undefined ? {} : { ca: authorityCertificate }),
    });
  }

  /** @throws RefusalError `kds-*` */
  find(item: CollateralItem): Promise<Uint8Array | undefined> {
    const name = collateralName(item);
    if ((this.absentUntil.get(name) ?? 0) > this.clock.monotonicMilliseconds())
      return Promise.resolve(undefined);
    const underway = this.pending.get(name);
    if (underway !== undefined) return underway;
    if (this.pending.size >= MAX_PENDING)
      return Promise.reject(busy(`${this.pending.size} requests waiting`));
    const answer = this.takeTurn(() => this.fetch(item)).finally(() => this.pending.delete(name));
    this.pending.set(name, answer);
    return answer;
  }

  /** Runs work after all that was asked for earlier, whatever became of it. */
  private takeTurn<T>(work: () => Promise<T>): Promise<T> {
    const turn = this.lastTurn.then(work, work);
    this.lastTurn = turn;
    return turn;
  }

  private async fetch(item: CollateralItem): Promise<Uint8Array | undefined> {
    let failure: RefusalError | undefined;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt += 1) {
      await this.keepQuiet();
      const answer = await this.exchange(item);
      if ('status' in answer && answer.status === OK) return answer.body;
      if ('status' in answer && answer.status === NOT_FOUND) {
        this.rememberAbsence(item);
        return undefined;
      }
      failure = 'status' in answer ? refusalOfStatus(answer) : answer;
      if (failure.family !== 'unavailable') throw failure;
      const asked = 'status' in answer ? retryAfterMilliseconds(answer, this.clock) : 0;
      this.waitFrom(Math.max(asked, FIRST_WAIT_MILLISECONDS * 2 ** attempt));
    }
    this.waitFrom(GIVE_UP_MILLISECONDS);
    throw failure ?? busy('no attempt');
  }

  /** Jitter keeps servers that started together from asking together. */
  private waitFrom(milliseconds: number): void {
    const jitter = Math.random() * FIRST_WAIT_MILLISECONDS;
    this.quietUntil = this.clock.monotonicMilliseconds() + milliseconds + jitter;
  }

  private async keepQuiet(): Promise<void> {
    const wait = this.quietUntil - this.clock.monotonicMilliseconds();
    if (wait > MAX_WAIT_MILLISECONDS) throw busy(`a wait of ${Math.ceil(wait / 1000)} seconds`);
    if (wait > 0) await this.pause(wait);
  }

  private rememberAbsence(item: CollateralItem): void {
    const [oldest] = this.absentUntil.keys();
    if (this.absentUntil.size >= MAX_NEGATIVE && oldest !== undefined) this.absentUntil.delete(oldest);
    const until = this.clock.monotonicMilliseconds() + NEGATIVE_MILLISECONDS;
    this.absentUntil.set(collateralName(item), until);
  }

  private async exchange(item: CollateralItem): Promise<Answer | RefusalError> {
    const signal = AbortSignal.timeout(this.timeoutMilliseconds);
    const maxAnswerBytes = MAX_COLLATERAL_BYTES[item.kind];
    try {
      const url = new URL(kdsPath(item), this.address);
      const message = { method: 'GET', headers: { accept: '*/*' } } as const;
      return await exchangeOnce(url, this.agent, message, { signal, maxAnswerBytes });
    } catch (cause) {
      if (cause instanceof AnswerTooLarge) throw badAnswer(`at most ${maxAnswerBytes} bytes`, 'more');
      return refusalOfFailure(cause, signal);
    }
  }
}

function refusalOfFailure(cause: unknown, signal: AbortSignal): RefusalError {
  const { kind, code } = failureKind(cause, signal);
  const facts = { field: 'AMD KDS', expected: 'a complete answer', found: excerpt(code) };
  if (kind === 'untrusted') return kdsAnswerRefusals.error('kds-not-trusted', facts, { cause });
  const name = kind === 'timeout' ? 'kds-timeout' : 'kds-unreachable';
  return kdsReachRefusals.error(name, facts, { cause });
}

function refusalOfStatus({ status }: Answer): RefusalError {
  if (status === TOO_MANY_REQUESTS || status >= 500) return busy(`status ${status}`);
  return badAnswer(`status ${OK} or ${NOT_FOUND}`, `status ${status}`);
}

function badAnswer(expected: string, found: string): RefusalError {
  return kdsAnswerRefusals.error('kds-answer', { field: 'AMD KDS', expected, found });
}

function busy(found: string): RefusalError {
  return kdsReachRefusals.error('kds-busy', { field: 'AMD KDS', expected: 'an answer', found });
}

/** Retry-After (RFC 9110, section 10.2.3): seconds, or a date. What cannot be read does not count. */
function retryAfterMilliseconds({ headers }: Answer, clock: Clock): number {
  const text = headers['retry-after'] ?? '';
  if (/^[0-9]{1,6}$/.test(text)) return Number(text) * 1000;
  const date = Date.parse(text);
  return Number.isNaN(date) ? 0 : Math.max(0, date - clock.posixSeconds() * 1000);
}
