/** The OpenAPI 3.1 document, made from the route table and the shapes that the server itself reads and writes. */

import { z } from 'zod';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { PROBLEM_MEDIA_TYPE, problemSchema } from '../platform/problem.ts';
import type { Route } from './route.ts';

const JSON_MEDIA_TYPE = 'application/json';

export function openApiDocument(routes: readonly Route[]): JsonValue {
  return {
    openapi: '3.1.0',
    info: {
      title: 'Weightgate key-release server',
      version: '1',
      description: 'Bodies are canonical JSON (RFC 8785). The protocol: docs/spec/release-protocol.md.',
    },
    paths: Object.fromEntries(routes.map((route) => [route.path, { [route.method]: operationOf(route) }])),
    components: { schemas: { Problem: schemaOf(problemSchema) } },
  };
}

function operationOf(route: Route): JsonValue {
  return {
    summary: route.summary,
    parameters: parametersOf(route.path),
    ...(route.method === 'post' ? { requestBody: requestBodyOf(route) } : {}),
    responses: {
      200: { description: 'Done.', content: answerContentOf(route) },
      default: {
        description: 'Refused, or failed.',
        content: { [PROBLEM_MEDIA_TYPE]: { schema: { $ref: '#/components/schemas/Problem' } } },
      },
    },
  };
}

function parametersOf(path: string): JsonValue {
  return [...path.matchAll(/\{(\w+)\}/g)].map(([, name = '']) => ({
    name,
    in: 'path',
    required: true,
    schema: { type: 'string' },
  }));
}

function requestBodyOf(route: Extract<Route, { method: 'post' }>): JsonValue {
  const schema = schemaOf(route.request);
  const payload =
    route.payload === undefined
      ? {}
      : { 'x-payload-type': route.payload.type, 'x-payload-schema': schemaOf(route.payload.schema) };
  return {
    required: true,
    description: `At most ${route.maxBodyBytes} bytes.`,
    content: { [JSON_MEDIA_TYPE]: { schema, ...payload } },
  };
}

function answerContentOf(route: Route): JsonValue {
  if (route.answer !== undefined) return { [JSON_MEDIA_TYPE]: { schema: schemaOf(route.answer) } };
  return { '*/*': {} };
}

function schemaOf(schema: z.ZodType): JsonValue {
  // Members that take any JSON are custom types for zod and the empty schema, which takes anything, here.
  return z.toJSONSchema(schema, { unrepresentable: 'any' }) as unknown as JsonValue;
}
