/** What an auditor has verified before. Kept by the auditor, never by the server: it is what shows a rewritten log. */

import { z } from 'zod';

import { fromHex, toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals, isRefusal } from '../../attestation/core/refusal.ts';
import type { TreeHead } from '../log/checkpoint-body.ts';
import { readCanonicalFile, writeCanonicalFile } from '../platform/canonical-file.ts';
import { readShape } from '../platform/shape.ts';

export const auditMemoryRefusals = defineRefusals('usage', {
  'audit-memory-other-log': {
    means: 'The file of what was verified before belongs to another log.',
    hint: 'Give each log a file of its own with --state.',
  },
});

const MAX_MEMORY_BYTES = 4096;

const memorySchema = z.strictObject({
  version: z.literal(1),
  origin: z.string(),
  size: z.string().regex(/^(?:0|[1-9][0-9]{0,19})$/),
  root: z.string().regex(/^[0-9a-f]{64}$/),
});

/**
 * @returns undefined on the first visit, when the file is not there
 * @throws RefusalError `audit-memory-other-log`, `file-*`, `json-*`, `shape-mismatch`
 */
export async function recallTreeHead(path: string, origin: string): Promise<TreeHead | undefined> {
  const document = await readCanonicalFile(path, MAX_MEMORY_BYTES).catch((error: unknown) => {
    if (isRefusal(error) && error.refusal.code === 'file-not-found') return undefined;
    throw error;
  });
  if (document === undefined) return undefined;
  const memory = readShape(memorySchema, document, path);
  if (memory.origin !== origin) {
    throw auditMemoryRefusals.error('audit-memory-other-log', {
      field: path,
      expected: origin,
      found: memory.origin,
    });
  }
  return { size: BigInt(memory.size), root: fromHex(memory.root, `${path}.root`) };
}

/** To be called only after the whole log up to this head was audited. @throws RefusalError `file-not-written` */
export async function rememberTreeHead(path: string, origin: string, head: TreeHead): Promise<void> {
  const document = { version: 1, origin, size: head.size.toString(), root: toHex(head.root) };
  await writeCanonicalFile(path, document, { overwrite: true });
}
