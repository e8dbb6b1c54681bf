/** Files with secrets: canonical JSON, for their owner alone, never overwritten (KC-1). */

import type { z } from 'zod';

import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { readFileWithMode, writeFileDurably } from '../platform/files.ts';
import { readShape } from '../platform/shape.ts';
import { keyUseRefusals } from './refusals.ts';

const MAX_FILE_BYTES = 64 * 1024;
const OWNER_ONLY = 0o600;
const GROUP_AND_OTHERS = 0o077;

/** @throws RefusalError `file-exists`, `file-not-written` */
export async function writeSecretFile(path: string, document: JsonValue): Promise<void> {
  await writeFileDurably(path, encodeCanonicalJson(document), OWNER_ONLY, { overwrite: false });
}

/**
 * Reads a file that holds secrets.
 *
 * @throws RefusalError `key-file-exposed`, `file-*`, `json-*`, `utf8-malformed`, `shape-mismatch`
 */
export async function readSecretFile<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  return parseSecretFile(await readSecretBytes(path), schema, path);
}

/** As `readSecretFile`, of a format that others define. @throws RefusalError `key-file-exposed`, `file-*` */
export async function readSecretBytes(path: string): Promise<Uint8Array> {
  const { bytes, mode } = await readFileWithMode(path, MAX_FILE_BYTES);
  if ((mode & GROUP_AND_OTHERS) !== 0) {
    throw keyUseRefusals.error('key-file-exposed', {
      field: path,
      expected: 'mode 0600 (KC-1)',
      found: `mode 0${(mode & 0o777).toString(8)}`,
    });
  }
  return bytes;
}

/** @param path for refusals @throws RefusalError `json-*`, `utf8-malformed`, `shape-mismatch` */
export function parseSecretFile<T>(bytes: Uint8Array, schema: z.ZodType<T>, path: string): T {
  return readShape(schema, decodeCanonicalJson(bytes, { maxBytes: MAX_FILE_BYTES }, path), path);
}
