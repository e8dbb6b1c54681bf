/** The HTTP surface: mounts the route table on express and turns whatever happens into an answer of ours. */

import { randomUUID } from 'node:crypto';

import express, { type ErrorRequestHandler, type Express, type Request, type Response } from 'express';

import { jsonRefusals } from '../../attestation/core/canonical-json.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Clock } from '../platform/clock.ts';
import type { Logger } from '../platform/logging.ts';
import { PROBLEM_MEDIA_TYPE } from '../platform/problem.ts';
import { openApiDocument } from './openapi.ts';
import { problemOfError, type ProblemAnswer } from './problems.ts';
import { RateLimit } from './rate-limit.ts';
import { routeRefusals } from './refusals.ts';
import type { RequestCounts } from './request-counts.ts';
import type { Route, RouteAnswer } from './route.ts';
import { aboutRoutes, type AboutContext } from './routes/about.ts';
import { enrolmentRoutes } from './routes/enrolments.ts';
import { logRoutes } from './routes/log.ts';
import { releaseRoutes } from './routes/releases.ts';
import { statementRoutes } from './routes/statements.ts';

export type ServerContext = AboutContext &
  Parameters<typeof enrolmentRoutes>[0] &
  Parameters<typeof releaseRoutes>[0] &
  Parameters<typeof statementRoutes>[0] & {
    readonly log: Parameters<typeof logRoutes>[0];
    readonly logger: Logger;
    readonly clock: Clock;
    /** Of what leaves no entry in the log. */
    readonly counts: RequestCounts;
    /** For one address. */
    readonly requestsPerMinute: number;
  };

const JSON_MEDIA_TYPE = 'application/json';

/** Every route of the server, its own description included. */
export function serverRoutes(context: ServerContext): readonly Route[] {
  const routes: Route[] = [
    ...aboutRoutes(context),
    ...enrolmentRoutes(context),
    ...releaseRoutes(context),
    ...statementRoutes(context),
    ...logRoutes(context.log),
  ];
  const description: Route = {
    method: 'get',
    path: '/openapi.json',
    summary: 'Read this description.',
    answer: undefined,
    handle: () => Promise.resolve(described),
  };
  routes.push(description);
  const described: RouteAnswer = { kind: 'json', value: openApiDocument(routes) };
  return routes;
}

export function createApp(context: ServerContext): Express {
  const app = express();
  app.disable('x-powered-by').disable('etag');
  const rateLimit = new RateLimit(context.requestsPerMinute);
  app.use((request, _response, next) => {
    rateLimit.take(request.socket.remoteAddress ?? '', context.clock.monotonicMilliseconds());
    next();
  });
  for (const route of serverRoutes(context)) mount(app, route, context);
  app.use((request) => {
    const facts = { field: 'path', expected: 'a path of this server', found: request.path.slice(0, 100) };
    throw routeRefusals.error('route-unknown', facts);
  });
  app.use(answerFailure(context));
  return app;
}

/** `{name}` is one segment of a path, `{rest}` all that remain. */
function expressPath(path: string): string {
  return path.replace('{rest}', '*rest').replaceAll(/\{(\w+)\}/g, ':$1');
}

type AnswerContext = Pick<ServerContext, 'logger' | 'counts'>;
type MountContext = AnswerContext & Pick<ServerContext, 'governance'>;

function mount(app: Express, route: Route, { logger, counts, governance }: MountContext): void {
  const path = expressPath(route.path);
  const handle = async (request: Request, response: Response): Promise<void> => {
    // What other servers decided until now counts for every answer (TL-47).
    await governance.refresh();
    const answer = await route.handle({ parameters: parametersOf(request), body: bodyOf(request) });
    if (route.method === 'post' && route.handsOut !== undefined) counts.handOut(route.handsOut);
    sendAnswer(response, answer);
    logger.info({ route: route.path, status: response.statusCode }, 'answered');
  };
  if (route.method === 'get') app.get(path, handle);
  else app.post(path, refuseOtherMediaTypes, readBody(route.maxBodyBytes), handle);
  app.all(path, (request, response) => {
    response.setHeader('allow', route.method.toUpperCase());
    const facts = { field: 'method', expected: route.method.toUpperCase(), found: request.method };
    throw routeRefusals.error('route-method', facts);
  });
}

function refuseOtherMediaTypes(request: Request, _response: Response, next: () => void): void {
  const found = (request.headers['content-type'] ?? 'none').slice(0, 100);
  if (found.split(';', 1)[0]?.trim().toLowerCase() === JSON_MEDIA_TYPE) {
    next();
    return;
  }
  throw routeRefusals.error('route-media-type', { field: 'content-type', expected: JSON_MEDIA_TYPE, found });
}

/** The bytes as they came: whether they are canonical is judged by who reads them. Nothing is decompressed. */
function readBody(maxBodyBytes: number): express.RequestHandler {
  return express.raw({ type: () => true, limit: maxBodyBytes, inflate: false });
}

function bodyOf(request: Request): Uint8Array {
  return request.body instanceof Uint8Array ? request.body : new Uint8Array(0);
}

function parametersOf(request: Request): Readonly<Record<string, string>> {
  const entries = Object.entries(request.params as Record<string, string | readonly string[]>);
  return Object.fromEntries(
    entries.map(([name, value]) => [name, typeof value === 'string' ? value : value.join('/')]),
  );
}

function sendAnswer(response: Response, answer: RouteAnswer): void {
  switch (answer.kind) {
    case 'json':
      send(
        response,
        200,
        { 'content-type': JSON_MEDIA_TYPE, 'cache-control': 'no-store' },
        encodeCanonicalJson(answer.value),
      );
      return;
    case 'problem':
      sendProblem(response, answer.problem);
      return;
    case 'bytes':
      send(response, answer.status, answer.headers, answer.body);
  }
}

function sendProblem(response: Response, problem: ProblemAnswer): void {
  const { status, body, retryAfterSeconds } = problem;
  const retryAfter = retryAfterSeconds === undefined ? {} : { 'retry-after': String(retryAfterSeconds) };
  send(
    response,
    status,
    { 'content-type': PROBLEM_MEDIA_TYPE, 'cache-control': 'no-store', ...retryAfter },
    body,
  );
}

function send(
  response: Response,
  status: number,
  headers: Readonly<Record<string, string>>,
  body: Uint8Array,
): void {
  response.status(status).set(headers);
  response.setHeader('x-content-type-options', 'nosniff');
  response.end(body);
}

/** RP-3: a refusal is explained, anything else gets a name and is explained in our own log. */
function answerFailure({ logger, counts }: AnswerContext): ErrorRequestHandler {
  return (thrown: unknown, request, response, _next) => {
    const error = refusalOfExpress(thrown);
    const instance = `urn:uuid:${randomUUID()}`;
    const { answer, code, hidden } = problemOfError(error, instance);
    // A refusal that stands in an entry of the log is an answer of its route, and does not come here.
    counts.refuse(code);
    if (hidden) logger.error({ instance, path: request.path, err: error }, 'failed');
    else logger.info({ path: request.path, status: answer.status, code }, 'refused');
    if (response.headersSent) response.destroy();
    else sendProblem(response, answer);
  };
}

/** What express and its body reader throw at bad requests, in our words. */
function refusalOfExpress(thrown: unknown): unknown {
  if (isRefusal(thrown) || !(thrown instanceof Error) || !('status' in thrown)) return thrown;
  const { status } = thrown;
  if (typeof status !== 'number' || status < 400 || status > 499) return thrown;
  if (status === 413) {
    const facts = { field: 'body', expected: 'at most what the route allows', found: 'more' };
    return jsonRefusals.error('json-too-large', facts, { cause: thrown });
  }
  const facts = { field: 'request', expected: 'a complete request', found: 'one that cannot be read' };
  return jsonRefusals.error('json-malformed', facts, { cause: thrown });
}
