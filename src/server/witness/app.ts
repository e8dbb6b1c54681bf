/** The HTTP surface of a witness (C2SP tlog-witness; WT-10, WT-15): texts of others, not our problems and JSON. */

import express, { type ErrorRequestHandler, type Express, type Response } from 'express';

import { isRefusal } from '../../../attestation/core/refusal.ts';
import { MAX_ADD_CHECKPOINT_BYTES } from '../../log/add-checkpoint.ts';
import type { Witness } from '../../log/witness.ts';
import type { Clock } from '../../platform/clock.ts';
import type { Logger } from '../../platform/logging.ts';
import { RateLimit } from '../rate-limit.ts';

const TEXT = 'text/plain; charset=utf-8';
const RETRY_AFTER_SECONDS = '5';
const DIGEST = /^[0-9a-f]{64}$/;

export interface WitnessAppOptions {
  readonly witness: Witness;
  readonly logger: Logger;
  readonly clock: Clock;
  /** For one address. */
  readonly requestsPerMinute: number;
}

export function createWitnessApp({ witness, logger, clock, requestsPerMinute }: WitnessAppOptions): Express {
  const app = express();
  app.disable('x-powered-by').disable('etag');
  const rateLimit = new RateLimit(requestsPerMinute);
  app.use((request, _response, next) => {
    rateLimit.take(request.socket.remoteAddress ?? '', clock.monotonicMilliseconds());
    next();
  });
  const readBody = express.raw({ type: () => true, limit: MAX_ADD_CHECKPOINT_BYTES, inflate: false });
  app.post('/add-checkpoint', readBody, async (request, response) => {
    const body: unknown = request.body;
    const {
      status,
      contentType,
      body: text,
    } = await witness.addCheckpoint(body instanceof Uint8Array ? body : new Uint8Array(0));
    logger.info({ status, answer: status === 200 ? 'cosigned' : text.trim() }, 'asked to cosign');
    if (status === 503) response.setHeader('retry-after', RETRY_AFTER_SECONDS);
    send(response, status, contentType, text);
  });
  app.get('/:digest/checkpoint', (request, response) => {
    const { digest } = request.params;
    const note = DIGEST.test(digest) ? witness.monitoredCheckpoint(digest) : undefined;
    if (note === undefined) send(response, 404, TEXT, 'nothing cosigned\n');
    else send(response, 200, TEXT, note);
  });
  app.all('/add-checkpoint', (_request, response) => {
    response.setHeader('allow', 'POST');
    send(response, 405, TEXT, 'POST\n');
  });
  app.use((_request, response) => {
    send(response, 404, TEXT, 'no such path\n');
  });
  app.use(answerFailure(logger));
  return app;
}

function send(response: Response, status: number, contentType: string, text: string): void {
  // Not by express, which adds a charset to a type that has none.
  response.setHeader('content-type', contentType);
  response.setHeader('cache-control', 'no-store');
  response.setHeader('x-content-type-options', 'nosniff');
  response.status(status).end(text);
}

/** What the body reader refuses is a request of another form; anything that is not a refusal is our failure. */
function answerFailure(logger: Logger): ErrorRequestHandler {
  return (error: unknown, _request, response, _next) => {
    if (response.headersSent) {
      response.destroy();
      return;
    }
    if (isRefusal(error) && error.refusal.code === 'server-rate') {
      response.setHeader('retry-after', RETRY_AFTER_SECONDS);
      send(response, 429, TEXT, 'too many requests\n');
      return;
    }
    const status = error instanceof Error && 'status' in error ? Number(error.status) : 500;
    if (status >= 400 && status < 500) {
      send(response, 400, TEXT, 'a request that cannot be read\n');
      return;
    }
    logger.error({ err: error }, 'failed');
    send(response, 500, TEXT, 'this witness failed\n');
  };
}
