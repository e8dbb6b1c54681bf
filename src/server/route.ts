/**
 * The routes of the server as one table: path, limits, shapes and handler. Express mounts them and the OpenAPI
 * document describes them, so that neither can have one that the other lacks.
 */

import type { z } from 'zod';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { ProblemAnswer } from './problems.ts';
import type { HandedOut } from './request-counts.ts';

/** What a handler sees of a request. All of it comes from the network. */
interface RouteRequest {
  /** Values of the `{names}` in the path. */
  readonly parameters: Readonly<Record<string, string>>;
  /** At most as large as the route allows; empty for GET. */
  readonly body: Uint8Array;
}

/** What a handler answers. A refusal that is not decided upon is thrown instead. */
export type RouteAnswer =
  | { readonly kind: 'json'; readonly value: JsonValue }
  | { readonly kind: 'problem'; readonly problem: ProblemAnswer }
  | {
      readonly kind: 'bytes';
      readonly status: 200 | 404;
      readonly headers: Readonly<Record<string, string>>;
      readonly body: Uint8Array;
    };

interface RouteBase {
  /** In the form of OpenAPI; `{rest}` takes the remaining segments. */
  readonly path: string;
  readonly summary: string;
  handle(request: RouteRequest): Promise<RouteAnswer>;
}

export interface GetRoute extends RouteBase {
  readonly method: 'get';
  /** Undefined where the answer is not JSON of ours. */
  readonly answer: z.ZodType | undefined;
}

export interface PostRoute extends RouteBase {
  readonly method: 'post';
  readonly request: z.ZodType;
  /** What a signed request carries in its envelope. */
  readonly payload?: { readonly type: string; readonly schema: z.ZodType };
  readonly maxBodyBytes: number;
  /** What an answer hands out, where that is counted (RP-38). */
  readonly handsOut?: HandedOut;
  readonly answer: z.ZodType;
}

export type Route = GetRoute | PostRoute;

export function jsonAnswer(value: object): RouteAnswer {
  return { kind: 'json', value: value as JsonValue };
}
