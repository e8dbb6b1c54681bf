/** Files that hold one canonical JSON document: profiles, reference values, what an auditor remembers. */

import { concatBytes, toUtf8 } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { readFileBounded, writeFileDurably } from './files.ts';

const LINE_FEED = 0x0a;

/**
 * Reads a document. One line feed at its end is what editors, shells and `writeCanonicalFile` add; everything else is
 * held to the one form.
 *
 * @param maxBytes of the whole file
 * @throws RefusalError `file-*`, `json-*`, `utf8-malformed`
 */
export async function readCanonicalFile(path: string, maxBytes: number): Promise<JsonValue> {
  const text = await readFileBounded(path, maxBytes);
  const body = text.at(-1) === LINE_FEED ? text.subarray(0, -1) : text;
  return decodeCanonicalJson(body, { maxBytes }, path);
}

/**
 * Writes a document that everybody may read, with a line feed at its end.
 *
 * @throws RefusalError `json-*`, `file-exists`, `file-not-written`
 */
export async function writeCanonicalFile(
  path: string,
  document: JsonValue,
  options: { readonly overwrite: boolean },
): Promise<void> {
  await writeFileDurably(path, concatBytes(encodeCanonicalJson(document), toUtf8('\n')), 0o644, options);
}
