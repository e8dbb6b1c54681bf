/** Checks the shape of a document from outside against its declared schema, and refuses in the project's own words. */

import type { z } from 'zod';

import { excerpt } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';

export const shapeRefusals = defineRefusals('malformed', {
  'shape-mismatch': {
    means: 'A document lacks a member, has one that is not known, or one of another type or range.',
    hint: 'Compare the member with the specification of the document; a newer version is refused, not guessed.',
  },
});

/**
 * @param name what the document is; the first part of the refused member's path
 * @throws RefusalError `shape-mismatch` naming the first member that does not fit
 */
export function readShape<T>(schema: z.ZodType<T>, value: unknown, name: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = (issue?.path ?? []).map((step) =>
    typeof step === 'number' ? `[${step}]` : `.${excerpt(String(step))}`,
  );
  throw shapeRefusals.error('shape-mismatch', {
    field: `${name}${path.join('')}`,
    expected: 'the declared shape',
    found: excerpt(issue?.message ?? 'another shape'),
  });
}
