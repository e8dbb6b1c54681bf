/**
 * A server of static files that knows ranges, as mirrors are, on a loopback port, with faults that a test puts in front
 * of its answers. Every request takes the next fault of the list; when there is none left, it is served as it should be.
 */

import { createHash } from 'node:crypto';
import { createServer as createPlainServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';

import { onTestFinished } from 'vitest';

/** A file as the server holds it, by the percent-decoded path without its first slash. */
export type ServedFiles = ReadonlyMap<string, Uint8Array>;

export type Fault =
  /** The connection is cut after so many bytes of the body. */
  | { readonly kind: 'reset'; readonly afterBytes: number }
  /** The connection is cut before any answer. */
  | { readonly kind: 'no-answer' }
  /** The head comes, then nothing more for as long as the test runs. */
  | { readonly kind: 'hang'; readonly afterBytes: number }
  /** Nothing comes at all. */
  | { readonly kind: 'silence' }
  /** So many bytes every 5 milliseconds. */
  | { readonly kind: 'throttle'; readonly bytesAtATime: number }
  | { readonly kind: 'whole-file' }
  | { readonly kind: 'status'; readonly status: number; readonly headers?: Readonly<Record<string, string>> }
  /** Headers in place of the right ones. */
  | { readonly kind: 'headers'; readonly headers: Readonly<Record<string, string>> }
  /** The body is longer than its range; without a stated length, so that the connection carries it. */
  | { readonly kind: 'extra-bytes' }
  /** The body ends properly, and too early. */
  | { readonly kind: 'truncated'; readonly afterBytes: number }
  | { readonly kind: 'corrupt'; readonly at: number }
  /** With a text that never ends, where `isEndless`. */
  | {
      readonly kind: 'redirect';
      readonly status: number;
      readonly location: string | undefined;
      readonly isEndless?: boolean;
    }
  | { readonly kind: 'right' };

export interface RecordedRequest {
  readonly path: string;
  readonly range: string | undefined;
  readonly headers: IncomingMessage['headers'];
}

export interface RangeServer {
  /** `http(s)://127.0.0.1:port` */
  readonly origin: string;
  /** In the order in which they came; a test may empty it. */
  readonly requests: RecordedRequest[];
  /** Consumed from the front. */
  readonly faults: Fault[];
  /** In place of the list: what happens to a request, by its path and number. Undefined serves it. */
  choose: ((request: RecordedRequest, index: number) => Fault | undefined) | undefined;
  /** Entity tag of a file; the digest of its content by default. */
  entityTag: (path: string, content: Uint8Array) => string | undefined;
  readonly files: Map<string, Uint8Array>;
  /** The greatest number of requests that were under way at a time. */
  readonly mostAtATime: number;
}

export interface RangeServerOptions {
  readonly tls?: { readonly key: string; readonly cert: string };
}

/** Starts a server that ends with the test. */
export async function startRangeServer(
  files: ServedFiles,
  { tls }: RangeServerOptions = {},
): Promise<RangeServer> {
  const handler = new Handler(new Map([...files].map(([path, bytes]) => [path, Uint8Array.from(bytes)])));
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    handler.handle(request, response);
  };
  const server = tls === undefined ? createPlainServer(onRequest) : createTlsServer({ ...tls }, onRequest);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(async () => {
    await new Promise<void>((resolve) => {
      server.close(() => {
        resolve();
      });
      server.closeAllConnections();
    });
  });
  const { port } = server.address() as AddressInfo;
  return Object.assign(handler, { origin: `${tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}` });
}

class Handler {
  readonly files: Map<string, Uint8Array>;
  readonly requests: RecordedRequest[] = [];
  readonly faults: Fault[] = [];
  choose: RangeServer['choose'];
  mostAtATime = 0;
  #atATime = 0;

  constructor(files: Map<string, Uint8Array>) {
    this.files = files;
  }

  entityTag: RangeServer['entityTag'] = (_path, content) =>
    `"${createHash('sha256').update(content).digest('hex').slice(0, 32)}"`;

  handle(request: IncomingMessage, response: ServerResponse): void {
    const { pathname } = new URL(request.url ?? '/', 'http://any');
    const path = decodeURIComponent(pathname.slice(1));
    const recorded = { path, range: request.headers.range, headers: request.headers };
    const index = this.requests.push(recorded) - 1;
    this.#atATime += 1;
    this.mostAtATime = Math.max(this.mostAtATime, this.#atATime);
    response.once('close', () => (this.#atATime -= 1));
    const fault = this.choose === undefined ? this.faults.shift() : this.choose(recorded, index);
    this.#answer(recorded, response, fault ?? { kind: 'right' });
  }

  #answer(request: RecordedRequest, response: ServerResponse, fault: Fault): void {
    if (fault.kind === 'no-answer') {
      response.destroy();
    } else if (fault.kind === 'status') {
      response.writeHead(fault.status, fault.headers).end('not now');
    } else if (fault.kind === 'redirect') {
      const headers = fault.location === undefined ? {} : { location: fault.location };
      response.writeHead(fault.status, headers);
      if (fault.isEndless === true) response.write(new Uint8Array(1_000_000));
      else response.end('elsewhere');
    } else if (fault.kind !== 'silence') {
      this.#serve(request, response, fault);
    }
  }

  #serve({ path, range, headers }: RecordedRequest, response: ServerResponse, fault: Fault): void {
    const content = this.files.get(path);
    if (content === undefined) {
      response.writeHead(404).end();
      return;
    }
    const entityTag = this.entityTag(path, content);
    const tagHeader = entityTag === undefined ? {} : { etag: entityTag };
    const asked = /^bytes=([0-9]+)-([0-9]+)$/.exec(range ?? '');
    const isOther = headers['if-range'] !== undefined && headers['if-range'] !== entityTag;
    if (asked === null || fault.kind === 'whole-file' || isOther) {
      response.writeHead(200, { ...tagHeader, 'content-length': content.length }).end(content);
      return;
    }
    const first = Number(asked[1]);
    const last = Math.min(Number(asked[2]), content.length - 1);
    if (first > last) {
      response.writeHead(416, { 'content-range': `bytes */${content.length}` }).end();
      return;
    }
    const body = Uint8Array.from(content.subarray(first, last + 1));
    const head = {
      ...tagHeader,
      'content-range': `bytes ${first}-${last}/${content.length}`,
      ...(fault.kind === 'extra-bytes' || fault.kind === 'truncated'
        ? {}
        : { 'content-length': body.length }),
      ...(fault.kind === 'headers' ? fault.headers : {}),
    };
    response.writeHead(206, head);
    sendBody(response, body, fault);
  }
}

function sendBody(response: ServerResponse, body: Uint8Array, fault: Fault): void {
  if (fault.kind === 'reset') {
    response.write(body.subarray(0, fault.afterBytes), () => {
      response.destroy();
    });
  } else if (fault.kind === 'hang') {
    // Even without a byte of the body the head has to be on its way.
    response.flushHeaders();
    response.write(body.subarray(0, fault.afterBytes));
  } else if (fault.kind === 'truncated') {
    response.end(body.subarray(0, fault.afterBytes));
  } else if (fault.kind === 'throttle') {
    sendSlowly(response, body, fault.bytesAtATime);
  } else {
    if (fault.kind === 'corrupt') body[fault.at % body.length]! ^= 1;
    response.write(body);
    response.end(fault.kind === 'extra-bytes' ? 'x' : '');
  }
}

function sendSlowly(response: ServerResponse, body: Uint8Array, bytesAtATime: number): void {
  let at = 0;
  const timer = setInterval(() => {
    response.write(body.subarray(at, at + bytesAtATime));
    at += bytesAtATime;
    if (at < body.length) return;
    clearInterval(timer);
    response.end();
  }, 5);
  response.once('close', () => {
    clearInterval(timer);
  });
}
