/**
 * A log's side of C2SP tlog-witness (WT-16 to WT-18): asks one witness to cosign a checkpoint. What it answers is verified with
 * the keys of the log's own policy; a line that does not hold is not passed on.
 */

import { Agent } from 'node:https';

import { excerpt, fromUtf8 } from '../../attestation/core/bytes.ts';
import {
  defineRefusals,
  isRefusal,
  type Refusal,
  type RefusalError,
} from '../../attestation/core/refusal.ts';
import type { Clock } from '../platform/clock.ts';
import { AnswerTooLarge, exchangeOnce, failureKind, type Answer } from '../platform/http-exchange.ts';
import { formatAddCheckpoint, MAX_ADD_CHECKPOINT_BYTES } from './add-checkpoint.ts';
import { COSIGNATURE_LINES } from './checkpoint-signature.ts';
import type { VerifiedCheckpoint } from './checkpoint.ts';
import { formatSignatureLine, openNote, parseNote, type VerifiedLine } from './note.ts';
import { parseUint64 } from './uint64.ts';
import type { VerifierKey } from './verifier-key.ts';

export const witnessReachRefusals = defineRefusals('unavailable', {
  'witness-unreachable': {
    means: 'A witness did not answer completely in time, or asks to be left alone.',
    hint: 'Nothing is lost: it is asked again with the next checkpoint. Check its address if it goes on.',
  },
});

export const witnessAnswerRefusals = defineRefusals('inauthentic', {
  'witness-not-trusted': {
    means: 'What answered did not prove over TLS to be the witness.',
    hint: 'Check the address in the policy, and the authority that is accepted for it.',
  },
  'witness-answer': {
    means: 'A witness answered something that its protocol does not have, or no cosignature of its keys.',
    hint: 'Check that the verifier key in the policy is the one of this witness.',
  },
  'witness-inconsistent': {
    means: 'A witness knows another history of this log, or a larger one.',
    hint: 'Stop the log and compare: it lost or rewrote entries, or the witness was deceived. Keep all checkpoints.',
  },
});

export const witnessUseRefusals = defineRefusals('usage', {
  'witness-address': {
    means: 'The address of a witness in a policy is not one that can be asked.',
    hint: 'Write it as https://host/prefix, without query.',
  },
  'witness-refuses': {
    means: 'A witness does not know this log, or not its key.',
    hint: 'Give the operator of the witness the origin and the verifier key of this log.',
  },
});

const DEFAULT_TIMEOUT_MILLISECONDS = 2000;
const MAX_CONFLICTS = 3;
const SIZE_MEDIA_TYPE = 'text/x.tlog.size';
const DEFAULT_QUIET_SECONDS = 5;
const MAX_QUIET_SECONDS = 300;

export interface WitnessClientOptions {
  /** `https://…`, the prefix of `add-checkpoint`; comes from the operator of the log. */
  readonly url: string;
  /** All keys of the policy that belong to this address. */
  readonly keys: readonly VerifierKey[];
  /** PEM of the only authority that is accepted; by default those that Node trusts. */
  readonly authorityCertificate?: string | undefined;
  /** Time for one exchange. */
  readonly timeoutMilliseconds?: number | undefined;
  readonly clock: Clock;
}

/** Proves that the checkpoint extends the tree of a size. */
export type ConsistencyProver = (from: bigint) => Promise<readonly Uint8Array[]>;

/** What came of asking a witness. */
export interface WitnessReply {
  readonly url: string;
  /** Lines that verified, each with its line feed. */
  readonly lines: readonly string[];
  /** Why there are none. */
  readonly refusal: Refusal | undefined;
}

export class WitnessClient {
  private readonly options: WitnessClientOptions;
  private readonly endpoint: URL;
  private readonly agent: Agent;
  /** What the witness is known to have; a 409 corrects it. */
  private knownSize = 0n;
  private quietUntilMilliseconds = 0;

  /** @throws RefusalError `witness-address` */
  constructor(options: WitnessClientOptions) {
    this.options = options;
    this.endpoint = endpointOf(options.url);
    const { authorityCertificate: ca } = options;
    this.agent = new Agent({ keepAlive: true, minVersion: 'TLSv1.2', ...(ca === undefined ? {} : { ca }) });
  }

  /** Asks for cosignatures. Never rejects for what the witness or the network does. */
  async ask(checkpoint: VerifiedCheckpoint, prove: ConsistencyProver): Promise<WitnessReply> {
    const { url } = this.options;
    try {
      const lines = await this.cosign(checkpoint, prove);
      this.knownSize = checkpoint.size;
      return { url, lines, refusal: undefined };
    } catch (error) {
      if (!isRefusal(error)) throw error;
      return { url, lines: [], refusal: error.refusal };
    }
  }

  close(): void {
    this.agent.destroy();
  }

  private async cosign(checkpoint: VerifiedCheckpoint, prove: ConsistencyProver): Promise<readonly string[]> {
    if (this.options.clock.monotonicMilliseconds() < this.quietUntilMilliseconds)
      throw this.unreachable('a request to wait');
    // A witness may have been given a newer state than this process ever signed, by a copy of this log.
    let from = this.knownSize <= checkpoint.size ? this.knownSize : 0n;
    for (let conflicts = 0; ; conflicts += 1) {
      const answer = await this.exchange({ oldSize: from, proof: await prove(from), note: checkpoint.note });
      if (answer.status === 200) return await this.verifiedLines(answer, checkpoint.note);
      const known = sizeOf(answer);
      if (known === undefined) throw this.refusalOf(answer);
      if (known > checkpoint.size) throw this.ahead(known, checkpoint.size);
      if (conflicts === MAX_CONFLICTS)
        throw this.badAnswer('an end of conflicts', `${conflicts + 1} of them`);
      from = known;
    }
  }

  private async exchange(request: Parameters<typeof formatAddCheckpoint>[0]): Promise<Answer> {
    const body = formatAddCheckpoint(request);
    const { timeoutMilliseconds = DEFAULT_TIMEOUT_MILLISECONDS } = this.options;
    const signal = AbortSignal.timeout(timeoutMilliseconds);
    const headers = { 'content-type': 'text/plain; charset=utf-8', 'content-length': body.length };
    const bounds = { signal, maxAnswerBytes: MAX_ADD_CHECKPOINT_BYTES };
    try {
      return await exchangeOnce(this.endpoint, this.agent, { method: 'POST', headers, body }, bounds);
    } catch (cause) {
      if (cause instanceof AnswerTooLarge) {
        throw this.badAnswer(`at most ${MAX_ADD_CHECKPOINT_BYTES} bytes`, 'more');
      }
      throw this.refusalOfFailure(cause, signal);
    }
  }

  private async verifiedLines({ body }: Answer, note: string): Promise<readonly string[]> {
    const { text } = parseNote(note);
    const lines = new Map<VerifierKey, string>();
    for (const line of this.answeredLines(body)) {
      // One at a time: what does not hold must not keep the others out.
      for (const { key, signature } of await linesThatHold(`${text}\n${line}\n`, this.options.keys)) {
        lines.set(key, formatSignatureLine(key, signature));
      }
    }
    if (lines.size === 0) throw this.badAnswer('a cosignature by a key of the policy', 'none');
    return [...lines.values()];
  }

  private answeredLines(body: Uint8Array): readonly string[] {
    return fromUtf8(body, this.endpoint.host)
      .split('\n')
      .filter((line) => line !== '');
  }

  /** By the statuses of the specification, and those that witnesses in use answer besides. */
  private refusalOf({ status, headers }: Answer): RefusalError {
    const found = `status ${status}`;
    if (status === 429 || status >= 500) {
      this.keepQuiet(headers['retry-after']);
      return this.unreachable(found);
    }
    if (status === 403 || status === 404) {
      const facts = { field: this.endpoint.host, expected: 'a witness of this log', found };
      return witnessUseRefusals.error('witness-refuses', facts);
    }
    // Some answer 409 without a size where the roots differ.
    if (status === 409 || status === 422) {
      const facts = { field: this.endpoint.host, expected: 'the same history', found };
      return witnessAnswerRefusals.error('witness-inconsistent', facts);
    }
    return this.badAnswer('status 200, 409 or a refusal', found);
  }

  private keepQuiet(retryAfter: string | undefined): void {
    const asked = /^[0-9]{1,6}$/.test(retryAfter ?? '') ? Number(retryAfter) : DEFAULT_QUIET_SECONDS;
    const seconds = Math.min(asked, MAX_QUIET_SECONDS);
    this.quietUntilMilliseconds = this.options.clock.monotonicMilliseconds() + seconds * 1000;
  }

  private unreachable(found: string, cause?: unknown): RefusalError {
    const facts = { field: this.endpoint.host, expected: 'an answer', found };
    return witnessReachRefusals.error('witness-unreachable', facts, { cause });
  }

  private ahead(known: bigint, size: bigint): RefusalError {
    const facts = { field: this.endpoint.host, expected: `at most ${size} entries`, found: known.toString() };
    return witnessAnswerRefusals.error('witness-inconsistent', facts);
  }

  private badAnswer(expected: string, found: string): RefusalError {
    return witnessAnswerRefusals.error('witness-answer', { field: this.endpoint.host, expected, found });
  }

  private refusalOfFailure(cause: unknown, signal: AbortSignal): RefusalError {
    const { kind, code } = failureKind(cause, signal);
    if (kind !== 'untrusted')
      return this.unreachable(kind === 'timeout' ? 'no answer in time' : excerpt(code), cause);
    const facts = {
      field: this.endpoint.host,
      expected: 'TLS under an accepted authority',
      found: excerpt(code),
    };
    return witnessAnswerRefusals.error('witness-not-trusted', facts, { cause });
  }
}

async function linesThatHold(note: string, keys: readonly VerifierKey[]): Promise<readonly VerifiedLine[]> {
  try {
    return (await openNote(note, keys, COSIGNATURE_LINES)).lines;
  } catch (error) {
    if (isRefusal(error)) return [];
    throw error;
  }
}

/** What a well-formed 409 says; anything else says nothing. */
function sizeOf({ status, headers, body }: Answer): bigint | undefined {
  const mediaType = headers['content-type']?.split(';', 1)[0]?.trim();
  if (status !== 409 || mediaType !== SIZE_MEDIA_TYPE) return undefined;
  try {
    const text = fromUtf8(body, 'size');
    return text.endsWith('\n') ? parseUint64(text.slice(0, -1), 'size') : undefined;
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}

function endpointOf(text: string): URL {
  const url = URL.parse(text);
  if (url?.protocol !== 'https:' || url.search !== '' || url.hash !== '' || url.username !== '') {
    const facts = { field: 'url', expected: 'https://host/prefix', found: excerpt(text) };
    throw witnessUseRefusals.error('witness-address', facts);
  }
  return new URL(`${url.href.replace(/\/$/, '')}/add-checkpoint`);
}
