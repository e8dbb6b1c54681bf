/**
 * The way to one file of a mirror: where its address sends us on to, and the entity tags that were given on the way
 * (SW-35, SW-38). Kept for as long as the mirror, so that not every chunk is redirected anew.
 */

import type { IncomingMessage } from 'node:http';

import { excerpt } from '../../../attestation/core/bytes.ts';
import { fileAddress, followRedirect } from './address.ts';
import type { Mirror } from './mirror.ts';
import { sourceMalformed } from './refusals.ts';

const MAX_REDIRECTS = 5;
const REDIRECT_STATUSES: readonly number[] = [301, 302, 303, 307, 308];
/** What a signed address answers when its time is over, or when it was signed for another range. */
const EXPIRED_STATUSES: readonly number[] = [401, 403, 404, 410];
/** The text that comes with a redirection; more than this is not waited for. */
const MAX_REDIRECT_BODY_BYTES = 64 * 1024;
/** Networks that deliver files have a few hosts; a mirror that names ever new ones is given no more memory. */
const MAX_ORIGINS = 16;

export interface RouteRequest {
  readonly headers: Readonly<Record<string, string>>;
  /** Past all that was kept on the way (SW-41). */
  readonly again: boolean;
  readonly signal: AbortSignal;
}

export class Route {
  readonly #mirror: Mirror;
  readonly #path: string;
  readonly #address: URL;
  readonly #entityTags = new Map<string, string>();
  #kept: { readonly url: URL; served: number } | undefined;
  #isWorthKeeping = true;

  constructor(mirror: Mirror, path: string) {
    this.#mirror = mirror;
    this.#path = path;
    this.#address = fileAddress(mirror.address, path);
  }

  /**
   * Asks for the file where it was last found, else at its address.
   *
   * @returns the answer, no redirection; the caller reads or destroys it
   * @throws RefusalError `source-redirect`, `source-redirect-limit`, `source-changed`, and what the network throws
   */
  async ask(request: RouteRequest): Promise<IncomingMessage> {
    const kept = request.again ? undefined : this.#kept;
    if (kept !== undefined) {
      const answer = await this.#send(kept.url, request);
      const status = answer.statusCode ?? 0;
      if (!EXPIRED_STATUSES.includes(status) && !REDIRECT_STATUSES.includes(status)) {
        kept.served += 1;
        return answer;
      }
      answer.destroy();
      // A way that was no good even once is good for one range only: the next is asked for at the address.
      this.#isWorthKeeping = kept.served > 0;
      this.forget();
    }
    return await this.#askFromAddress(request);
  }

  /** The next request begins at the address again. */
  forget(): void {
    this.#kept = undefined;
  }

  async #askFromAddress(request: RouteRequest): Promise<IncomingMessage> {
    let url = this.#address;
    for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects += 1) {
      const answer = await this.#send(url, request);
      if (!REDIRECT_STATUSES.includes(answer.statusCode ?? 0)) {
        if (redirects > 0 && this.#isWorthKeeping) this.#kept = { url, served: 0 };
        return answer;
      }
      await dismiss(answer);
      url = followRedirect(url, answer.headers.location);
    }
    throw sourceMalformed.error('source-redirect-limit', {
      field: excerpt(this.#path),
      expected: `at most ${MAX_REDIRECTS} redirections`,
      found: 'more',
    });
  }

  async #send(url: URL, { headers, again, signal }: RouteRequest): Promise<IncomingMessage> {
    const known = this.#entityTags.get(url.origin);
    const answer = await this.#mirror.send(
      url,
      {
        ...headers,
        ...(again ? { 'cache-control': 'no-cache' } : {}),
        // Only a strong tag may stand there (RFC 9110 section 13.1.5).
        ...(known?.startsWith('"') === true ? { 'if-range': known } : {}),
      },
      signal,
    );
    try {
      this.#checkEntityTag(url.origin, answer, known);
    } catch (error) {
      answer.destroy();
      throw error;
    }
    return answer;
  }

  /** Only answers that hold the file speak of its tag. */
  #checkEntityTag(origin: string, { statusCode, headers }: IncomingMessage, known: string | undefined): void {
    if (headers.etag === undefined || (statusCode !== 200 && statusCode !== 206)) return;
    if (known === undefined) {
      if (this.#entityTags.size < MAX_ORIGINS) this.#entityTags.set(origin, headers.etag);
      return;
    }
    if (opaque(known) === opaque(headers.etag)) return;
    throw sourceMalformed.error('source-changed', {
      field: excerpt(this.#path),
      expected: `entity tag ${excerpt(known)}`,
      found: excerpt(headers.etag),
    });
  }
}

/** Weak comparison: what was weak here may be strong there. */
function opaque(entityTag: string): string {
  return entityTag.replace(/^W\//, '');
}

/** Reads the little that comes with a redirection, so that the connection can serve again. */
async function dismiss(answer: IncomingMessage): Promise<void> {
  let length = 0;
  for await (const part of answer as AsyncIterable<Uint8Array>) {
    length += part.length;
    // Leaving the loop destroys the answer and its connection.
    if (length > MAX_REDIRECT_BODY_BYTES) return;
  }
}
