/**
 * Refusals on the wire: problem details (RFC 9457) as the server writes and the client reads them
 * (docs/spec/release-protocol.md, RP-3). The type of a problem names the family of its refusals.
 */

import { z } from 'zod';

import type { RefusalFamilyName } from '../../attestation/core/refusal.ts';

export const PROBLEM_MEDIA_TYPE = 'application/problem+json';

const TYPE_PREFIX = 'https://weightgate.dev/problems/';

const FAMILIES = [
  'malformed',
  'inauthentic',
  'unacceptable',
  'usage',
  'unavailable',
  'environment',
] as const satisfies readonly RefusalFamilyName[];

/** Longest text of one member of a refusal. Longer ones come from no server of ours. */
const MAX_TEXT_LENGTH = 2000;

const text = z.string().max(MAX_TEXT_LENGTH);

const refusalSchema = z.strictObject({
  code: z
    .string()
    .regex(/^[a-z0-9]+(?:-[a-z0-9]+)*$/)
    .max(64),
  field: text,
  expected: text,
  found: text,
  hint: text,
});

export const problemSchema = z.strictObject({
  type: z.templateLiteral([TYPE_PREFIX, z.enum(FAMILIES)]),
  title: text,
  status: z.int().min(400).max(599),
  refusals: z.array(refusalSchema).min(1).max(64),
  /** Names one occurrence, so that the operator finds it in the server's own log. */
  instance: z.string().max(100).optional(),
});

export type Problem = z.infer<typeof problemSchema>;

export function problemTypeOf(family: RefusalFamilyName): Problem['type'] {
  return `${TYPE_PREFIX}${family}`;
}

export function familyOfProblem(problem: Problem): RefusalFamilyName {
  const name = problem.type.slice(TYPE_PREFIX.length);
  return FAMILIES.find((family) => family === name) ?? 'malformed';
}
