/**
 * One HTTP request and its answer, bounded in size and time: what every client of this project does alike, whatever
 * it asks and of whom. What the answer means, and how a failure is refused, is the client's to say.
 */

import {
  request as requestPlain,
  type Agent,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http';
import { request as requestTls } from 'node:https';

export interface Exchange {
  readonly method: 'GET' | 'POST';
  readonly headers: Readonly<Record<string, string | number>>;
  readonly body?: Uint8Array;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/** The body was cut off here: its sender wrote more than the client takes. */
export class AnswerTooLarge extends Error {
  override readonly name = 'AnswerTooLarge';
}

/**
 * Sends one request, over TLS where its address says so. Redirections are not followed: they are answers like any other.
 *
 * @param signal ends the whole exchange, its body included
 * @throws AnswerTooLarge, and whatever Node says of a connection that fails; see {@link failureKind}
 */
export function exchangeOnce(
  url: URL,
  agent: Agent,
  { method, headers, body }: Exchange,
  bounds: { readonly signal: AbortSignal; readonly maxAnswerBytes: number },
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = url.protocol === 'https:' ? requestTls : requestPlain;
    const outgoing = request(url, { method, headers, agent, signal: bounds.signal }, (incoming) => {
      readAnswer(incoming, bounds.maxAnswerBytes).then(resolve, reject);
    });
    outgoing.once('error', reject);
    outgoing.end(body);
  });
}

async function readAnswer(incoming: IncomingMessage, maxAnswerBytes: number): Promise<Answer> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of incoming as AsyncIterable<Uint8Array>) {
    length += chunk.length;
    if (length > maxAnswerBytes) {
      incoming.destroy();
      throw new AnswerTooLarge();
    }
    chunks.push(chunk);
  }
  return { status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.concat(chunks) };
}

/** Codes of OpenSSL and of Node's own checks of a certificate, a name or a protocol version. */
const TRUST_FAILURE = /CERT|SELF_SIGNED|^UNABLE_TO|^ERR_TLS|^ERR_SSL|^EPROTO/;

/** Why an exchange failed: no answer in time, a peer that did not prove who it is, or no connection. */
export function failureKind(
  cause: unknown,
  signal: AbortSignal,
): { readonly kind: 'timeout' | 'untrusted' | 'unreachable'; readonly code: string } {
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : 'unknown';
  if (signal.aborted) return { kind: 'timeout', code };
  return { kind: TRUST_FAILURE.test(code) ? 'untrusted' : 'unreachable', code };
}
