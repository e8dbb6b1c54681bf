import { createServer, type Server, type ServerOptions } from 'node:https';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { RefusalError } from '../../attestation/core/refusal.ts';
import { createHttpClient, type HttpClient } from '../../src/platform/http-client.ts';
import { createDevelopmentAuthority, type DevelopmentAuthority } from '../../src/platform/tls-authority.ts';
import { refusalCode, refusalCodeAsync } from '../support/refusal-code.ts';

const now = Math.floor(Date.now() / 1000);
let trusted: DevelopmentAuthority;
let stranger: DevelopmentAuthority;
const closers: (() => void)[] = [];

beforeAll(async () => {
  [trusted, stranger] = await Promise.all([
    createDevelopmentAuthority([], now),
    createDevelopmentAuthority([], now),
  ]);
});

afterEach(() => {
  for (const close of closers.splice(0)) close();
});

type Handler = (incoming: IncomingMessage, outgoing: ServerResponse) => void;

async function listen(handler: Handler, options: ServerOptions = {}): Promise<string> {
  const { certificate, privateKey } = trusted.server;
  const server: Server = createServer({ cert: certificate, key: privateKey, ...options }, handler);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closers.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `https://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

function clientOf(address: string, authority = trusted): HttpClient {
  const client = createHttpClient({
    address,
    authorityCertificate: authority.authority.certificate,
    timeoutMilliseconds: 1000,
    maxAnswerBytes: 10_000,
  });
  closers.push(() => {
    client.close();
  });
  return client;
}

function answering(status: number, mediaType: string, body: Uint8Array | string): Handler {
  return (incoming, outgoing) => {
    incoming.resume();
    outgoing.writeHead(status, { 'content-type': mediaType });
    outgoing.end(body);
  };
}

const json = (value: JsonValue): Uint8Array => encodeCanonicalJson(value);

describe('the HTTP client', () => {
  it('RP-1: sends canonical JSON with its media type and reads it back', async () => {
    const address = await listen((incoming, outgoing) => {
      outgoing.writeHead(200, { 'content-type': incoming.headers['content-type'] });
      incoming.pipe(outgoing);
    });
    expect(await clientOf(address).post('/v1/echo', json({ b: 1, a: 'x' }))).toEqual({ a: 'x', b: 1 });
  });

  it.each<[string, Handler, string]>([
    [
      'RP-1: an answer that is not canonical',
      answering(200, 'application/json', '{ }'),
      'json-not-canonical',
    ],
    ['RP-1: an answer of another media type', answering(200, 'text/html', '<html>'), 'server-answer'],
    [
      'RP-1: an answer above the limit',
      answering(200, 'application/json', 'x'.repeat(20_000)),
      'server-answer',
    ],
    ['RP-1: a redirection', answering(302, 'text/plain', ''), 'server-answer'],
    ['RP-3: a failure that is no problem', answering(502, 'text/html', 'bad gateway'), 'server-answer'],
    [
      'RP-3: a problem with an unknown member',
      answering(400, 'application/problem+json', json({ surprise: 1 })),
      'shape-mismatch',
    ],
    ['a server that never answers', () => undefined, 'server-timeout'],
    [
      'a server that dies in the middle',
      (_incoming, outgoing) => {
        outgoing.writeHead(200, { 'content-type': 'application/json', 'content-length': 100 });
        outgoing.write('{');
        setTimeout(() => outgoing.destroy(), 20);
      },
      'server-unreachable',
    ],
  ])('refuses %s', async (_title, handler, code) => {
    const client = clientOf(await listen(handler));
    expect(await refusalCodeAsync(() => client.get('/v1/server'))).toBe(code);
  });

  it("RP-3: a problem becomes the server's own refusal, family and members included", async () => {
    const refusal = {
      code: 'release-nonce',
      field: 'challenge',
      expected: 'an open one',
      found: 'a used one',
      hint: 'h',
    };
    const type = 'https://weightgate.dev/problems/unacceptable';
    const problem = json({ type, title: 'Refused', status: 403, refusals: [refusal] });
    const client = clientOf(await listen(answering(403, 'application/problem+json', problem)));
    const error: unknown = await client.get('/v1/server').catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(RefusalError);
    expect(error).toMatchObject({ family: 'unacceptable', refusal });
  });

  it('RP-4: another authority, another name or TLS 1.2 is not trusted', async () => {
    const handler = answering(200, 'application/json', '{}');
    const good = await listen(handler);
    expect(await refusalCodeAsync(() => clientOf(good, stranger).get('/'))).toBe('server-not-trusted');
    const old = await listen(handler, { maxVersion: 'TLSv1.2' });
    expect(await refusalCodeAsync(() => clientOf(old).get('/'))).toBe('server-not-trusted');
    const otherName = good.replace('127.0.0.1', '127.0.0.2');
    const answer = await refusalCodeAsync(() => clientOf(otherName).get('/'));
    expect(['server-not-trusted', 'server-unreachable']).toContain(answer);
    expect(await refusalCodeAsync(() => clientOf(good).get('/'))).toBe('accepted');
  });

  it('finds bytes, or nothing where the server has nothing', async () => {
    const found = clientOf(await listen(answering(200, 'text/plain', 'a checkpoint')));
    expect(new TextDecoder().decode(await found.findBytes('/log/checkpoint', 100))).toBe('a checkpoint');
    const missing = clientOf(await listen(answering(404, 'text/plain', 'not found')));
    expect(await missing.findBytes('/log/tile/0/000', 100)).toBeUndefined();
  });

  it('bounds found bytes by their own limit, also above that of other answers', async () => {
    const client = clientOf(await listen(answering(200, 'text/plain', 'a'.repeat(20_000))));
    expect(await client.findBytes('/log/tile/0/000', 20_000)).toHaveLength(20_000);
    expect(await refusalCodeAsync(() => client.findBytes('/log/tile/0/000', 19_999))).toBe('server-answer');
    const broken = clientOf(await listen(answering(500, 'text/plain', '')));
    expect(await refusalCodeAsync(() => broken.findBytes('/log/tile/0/000', 100))).toBe('server-answer');
  });

  it('a dead server is unreachable', async () => {
    const address = await listen(answering(200, 'application/json', '{}'));
    for (const close of closers.splice(0)) close();
    expect(await refusalCodeAsync(() => clientOf(address).get('/'))).toBe('server-unreachable');
  });

  it.each(['http://localhost', 'localhost:1', 'https://localhost/path', 'https://user@localhost', ''])(
    'RP-4: the address %j is refused before anything is sent',
    (address) => {
      expect(refusalCode(() => clientOf(address))).toBe('server-address');
    },
  );
});
