import { request, type RequestOptions } from 'node:https';
import { Ajv2020 } from 'ajv/dist/2020.js';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { enrol, prepareRelease } from '../../src/agent/key-release.ts';
import { problemSchema } from '../../src/platform/problem.ts';
import { RateLimit } from '../../src/server/rate-limit.ts';
import { serverRoutes } from '../../src/server/app.ts';
import { problemOfError } from '../../src/server/problems.ts';
import { homeRefusals } from '../../src/server/refusals.ts';
import { manifestDigest, SUBJECT, TestServer } from '../support/release-server.ts';
import { refusalCode } from '../support/refusal-code.ts';

interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly text: string;
}

/** Sends bytes as they are, past the client that would refuse to. */
function send(
  server: TestServer,
  method: string,
  path: string,
  body?: Uint8Array | string,
  headers: RequestOptions['headers'] = { 'content-type': 'application/json' },
): Promise<RawAnswer> {
  const options = { method, headers, ca: server.identity.authorityCertificate };
  return new Promise((resolve, reject) => {
    const outgoing = request(`${server.running.address}${path}`, options, (incoming) => {
      let text = '';
      incoming.setEncoding('utf8').on('data', (chunk: string) => (text += chunk));
      incoming.on('end', () => {
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, text });
      });
    });
    outgoing.on('error', reject);
    outgoing.end(body);
  });
}

function codesOf({ headers, text, status }: RawAnswer): readonly string[] {
  expect(headers['content-type']).toBe('application/problem+json');
  const problem = problemSchema.parse(JSON.parse(text));
  expect(problem.status).toBe(status);
  return problem.refusals.map(({ code }) => code);
}

const POST_PATHS = [
  '/v1/enrolments',
  '/v1/enrolments/x/activation',
  '/v1/challenges',
  '/v1/releases',
  '/v1/statements',
];

describe('bodies from outside', () => {
  it('RP-1, RP-3: random bytes, random JSON and altered requests give problems, never failures', async () => {
    const server = await TestServer.createReady();
    await enrol(server.agent(), server.tpm.enrolling);
    const { envelope } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const altered = fc
      .tuple(fc.nat({ max: envelope.length - 1 }), fc.integer({ min: 1, max: 255 }))
      .map(([at, flip]) => envelope.map((byte, i) => (i === at ? byte ^ flip : byte)));
    const json = fc.jsonValue().map((value) => new TextEncoder().encode(JSON.stringify(value)));
    const body = fc.oneof(fc.uint8Array({ maxLength: 300 }), json, altered);
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...POST_PATHS), body, async (path, bytes) => {
        const answer = await send(server, 'POST', path, bytes);
        expect(answer.status).toBeGreaterThanOrEqual(400);
        expect(answer.status).toBeLessThan(500);
        expect(codesOf(answer)).not.toEqual([]);
      }),
      { numRuns: 150 },
    );
  }, 60_000);

  it.each(POST_PATHS)(
    'RP-1: %s refuses what is too large, not canonical or not declared as JSON',
    async (path) => {
      const server = await TestServer.createReady();
      const large = await send(server, 'POST', path, 'x'.repeat(7 * 1024 * 1024));
      expect([large.status, codesOf(large)]).toEqual([413, ['json-too-large']]);
      const spaced = await send(server, 'POST', path, '{ "version":1}');
      expect([spaced.status, codesOf(spaced)]).toEqual([400, ['json-not-canonical']]);
      const html = await send(server, 'POST', path, '{}', { 'content-type': 'text/html' });
      expect([html.status, codesOf(html)]).toEqual([415, ['route-media-type']]);
      const packed = { 'content-type': 'application/json', 'content-encoding': 'gzip' };
      expect((await send(server, 'POST', path, '{}', packed)).status).toBe(400);
    },
  );
});

describe('routes', () => {
  it('an unknown path is 404, another method 405 with Allow, a spoilt path 4xx', async () => {
    const server = await TestServer.createReady();
    const unknown = await send(server, 'GET', '/v2/server');
    expect([unknown.status, codesOf(unknown)]).toEqual([404, ['route-unknown']]);
    const method = await send(server, 'DELETE', '/v1/releases');
    expect([method.status, codesOf(method), method.headers['allow']]).toEqual([
      405,
      ['route-method'],
      'POST',
    ]);
    expect((await send(server, 'GET', '/v1/models/%E0%A4%A')).status).toBe(400);
  });

  it('TL-12: the log is served as static files', async () => {
    const server = await TestServer.createReady();
    const checkpoint = await send(server, 'GET', '/log/checkpoint');
    expect(checkpoint.text).toBe(server.home.log.published.checkpoint.note);
    const width = server.home.log.published.size;
    expect((await send(server, 'GET', `/log/tile/entries/000.p/${width}`)).status).toBe(200);
    expect((await send(server, 'GET', `/log/tile/entries/000.p/${width + 1n}`)).status).toBe(404);
    expect((await send(server, 'GET', '/log/tile/0/../entries/000')).status).toBe(404);
  });

  it('RP-4: nothing below TLS 1.3 is spoken', async () => {
    const server = await TestServer.createReady();
    const options = { ca: server.identity.authorityCertificate, maxVersion: 'TLSv1.2' } as const;
    await expect(
      new Promise((_resolve, reject) => {
        request(`${server.running.address}/healthz`, options).on('error', reject).end();
      }),
    ).rejects.toThrow();
  });

  it('RP-3: a failure of the server is not explained, but named', async () => {
    const server = await TestServer.createReady();
    vi.spyOn(server.home.storage, 'openChallenge').mockImplementation(() => {
      throw new Error('a secret of the operator: /srv/home/weightgate');
    });
    const body = encodeCanonicalJson({ version: 1, lab: 'lab-one', manifestDigest });
    const answer = await send(server, 'POST', '/v1/challenges', body);
    expect([answer.status, codesOf(answer)]).toEqual([500, ['server-failed']]);
    expect(answer.text).toContain('urn:uuid:');
    expect(answer.text).not.toContain('secret');
  });

  it('RP-3: what concerns the machine of the operator is not explained either', () => {
    const facts = { field: '/srv/home', expected: 'a folder', found: 'none' };
    const { answer, hidden } = problemOfError(homeRefusals.error('home-not-found', facts), 'urn:uuid:1');
    expect(hidden).toBe(true);
    expect(Buffer.from(answer.body).toString()).not.toContain('/srv/home');
  });
});

describe('push-back', () => {
  it('RP-14: beyond the bound on open challenges callers are told to wait', async () => {
    const server = await TestServer.createReady();
    vi.spyOn(server.home.storage, 'openChallenge').mockReturnValue(false);
    const body = encodeCanonicalJson({ version: 1, lab: 'lab-one', manifestDigest });
    const answer = await send(server, 'POST', '/v1/challenges', body);
    expect([answer.status, codesOf(answer), answer.headers['retry-after']]).toEqual([
      503,
      ['server-busy'],
      '5',
    ]);
  });

  it('one address has its rate, others are not touched, and time gives it back', () => {
    const limit = new RateLimit(60);
    const take = (address: string, at: number): string =>
      refusalCode(() => {
        limit.take(address, at);
      });
    for (let i = 0; i < 60; i += 1) expect(take('a', 0)).toBe('accepted');
    expect(take('a', 0)).toBe('server-rate');
    expect(take('b', 0)).toBe('accepted');
    expect(take('a', 999)).toBe('server-rate');
    expect(take('a', 2000)).toBe('accepted');
  });
});

interface OpenApi {
  readonly openapi: string;
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>;
  readonly components: { readonly schemas: { readonly Problem: object } };
}
interface Operation {
  readonly responses: {
    readonly 200: { readonly content: Readonly<Record<string, { readonly schema?: object }>> };
  };
}

describe('the OpenAPI document', () => {
  it('describes every route of the server and no other', async () => {
    const server = await TestServer.createReady();
    const document = (await server.client.get('/openapi.json')) as unknown as OpenApi;
    expect(document.openapi).toBe('3.1.0');
    const described = Object.entries(document.paths).flatMap(([path, methods]) =>
      Object.keys(methods).map((method) => `${method} ${path}`),
    );
    const context = { ...server.home, serverBuild: 'x', requestsPerMinute: 1 };
    const routes = serverRoutes(context as unknown as Parameters<typeof serverRoutes>[0]);
    expect(described.toSorted()).toEqual(routes.map(({ method, path }) => `${method} ${path}`).toSorted());
    for (const { method, path } of routes) {
      const answer = await send(server, method.toUpperCase(), path.replaceAll(/\{\w+\}/g, 'x'), '{}');
      expect([404, 405].includes(answer.status) && answer.text.includes('route-')).toBe(false);
    }
  });

  it('real answers are of the shapes that it declares', async () => {
    const server = await TestServer.createReady();
    const document = (await server.client.get('/openapi.json')) as unknown as OpenApi;
    const ajv = new Ajv2020({ strict: false });
    const check = (schema: object | undefined, value: JsonValue): void => {
      expect(schema).toBeDefined();
      const validate = ajv.compile(schema ?? {});
      expect(validate(value), JSON.stringify(validate.errors)).toBe(true);
    };
    const answerSchema = (method: string, path: string): object | undefined =>
      document.paths[path]?.[method]?.responses[200].content['application/json']?.schema;

    await enrol(server.agent(), server.tpm.enrolling);
    check(answerSchema('get', '/v1/server'), await server.client.get('/v1/server'));
    check(answerSchema('get', '/healthz'), await server.client.get('/healthz'));
    const model = await server.client.get(`/v1/models/${manifestDigest}`);
    check(answerSchema('get', '/v1/models/{manifestDigest}'), model);
    const body = encodeCanonicalJson({ version: 1, lab: 'lab-one', manifestDigest });
    check(answerSchema('post', '/v1/challenges'), await server.client.post('/v1/challenges', body));
    const { envelope } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    check(answerSchema('post', '/v1/releases'), await server.client.post('/v1/releases', envelope));
    const problem = await send(server, 'POST', '/v1/releases', envelope);
    check(document.components.schemas.Problem, JSON.parse(problem.text) as JsonValue);
  });
});
