/**
 * The manifest of vectors of TPMs. Its shapes are strict about everything but the facts that it states of an entry: a
 * member, a kind, a verdict or a file that nobody here knows is refused; facts that nobody reads are a difference.
 */

import { z } from 'zod';

const text = z.string();

const fileShape = z.strictObject({ path: text, size: z.number(), sha256: text });

const sourceShape = z.strictObject({
  repo: text,
  paths: z.array(text),
  commit: text,
  licence: text,
});

const KINDS = [
  'quote',
  'quote-parse',
  'azure-vtpm',
  'azure-hcl',
  'certify',
  'creation',
  'name',
  'ekcert',
  'credential',
  'encaps',
  'kdfa',
  'kdfe',
  'eventlog',
  'ima-log',
] as const;
export type VectorKind = (typeof KINDS)[number];

const entryShape = z.strictObject({
  id: text,
  kind: z.enum(KINDS),
  files: z.record(text, fileShape),
  source: z.array(sourceShape),
  derived: text.optional(),
  expected: z.record(text, z.unknown()),
  verdict: z.enum(['valid', 'invalid', 'edge', 'parse-only']),
  why: text,
  verifiedBy: text,
});
export type TpmVector = z.infer<typeof entryShape>;

const mutationShape = z.strictObject({ change: text, refusedAs: text });
export type TpmMutation = z.infer<typeof mutationShape>;

const manifestShape = z.strictObject({
  about: text,
  format: text,
  verdicts: z.record(text, text),
  mutations: z.strictObject({ about: text, list: z.array(mutationShape) }),
  counts: z.record(z.enum(KINDS), z.number()),
  entries: z.array(entryShape),
});
export type TpmManifest = z.infer<typeof manifestShape>;

/** @throws Error when it is not of this form, or has not the entries that it counts */
export function readTpmManifest(manifest: unknown): TpmManifest {
  const read = manifestShape.parse(manifest);
  const { counts, entries } = read;
  for (const kind of KINDS) {
    const found = entries.filter((entry) => entry.kind === kind).length;
    if (counts[kind] !== found) throw new Error(`counts ${counts[kind]} of ${kind}, has ${found}`);
  }
  if (new Set(entries.map(({ id }) => id)).size !== entries.length)
    throw new Error('two vectors have one id');
  return read;
}
