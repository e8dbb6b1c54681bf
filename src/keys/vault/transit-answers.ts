/** What the transit engine answers, of which only what is used here is read (API of Vault 1.14 and OpenBao 2). */

import { z } from 'zod';

import { fromUtf8 } from '../../../attestation/core/bytes.ts';
import { parseForeignJson } from '../../../attestation/core/foreign-json.ts';
import { keyUseRefusals } from '../refusals.ts';

/** An answer has an outer object, `data`, and in it at most the list of versions. */
const MAX_DEPTH = 8;

const version = z.int().min(0).max(1_000_000_000);

export const encrypted = z.object({ data: z.object({ ciphertext: z.string().max(1024) }) });
export const decrypted = z.object({ data: z.object({ plaintext: z.string().max(1024) }) });
export const transitKey = z.object({
  data: z.object({
    type: z.string().max(64),
    derived: z.boolean(),
    exportable: z.boolean(),
    allow_plaintext_backup: z.boolean(),
    latest_version: version.min(1),
    /** 0 while nothing was ever trimmed. */
    min_available_version: version,
    min_decryption_version: version,
  }),
});
export type TransitKey = z.infer<typeof transitKey>['data'];

/** Members that are not read may be there: the service adds some with each version. */
export function readTransitAnswer<T>(schema: z.ZodType<T>, body: Uint8Array, field: string): T {
  const parsed = parseForeignJson(fromUtf8(body, field), MAX_DEPTH);
  if (parsed.problem === undefined) {
    const result = schema.safeParse(parsed.value);
    if (result.success) return result.data;
  }
  throw keyUseRefusals.error('custody-failed', {
    field,
    expected: 'an answer of the transit engine (KC-34)',
    found: parsed.problem ?? 'JSON of another shape',
  });
}
