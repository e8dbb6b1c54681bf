/** A folder of vectors that a test carries into a page, and judging it there. Runs in the browser. */

import { sha256 } from '@noble/hashes/sha2.js';

import { fromBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { VectorFolder } from '../../support/vector-folder.ts';
import type { VectorClass, VectorLine } from '../../support/vector-runner.ts';

/** A folder of vectors as JSON carries it. */
export interface CarriedFolder {
  readonly manifest: unknown;
  /** Base64, by the path in the manifest. */
  readonly files: Readonly<Record<string, string>>;
}

function folderOf({ manifest, files }: CarriedFolder): VectorFolder {
  const file = (path: string, digest?: string): Uint8Array => {
    const bytes = fromBase64(files[path] ?? '', path);
    if (digest !== undefined && toHex(sha256(bytes)) !== digest) throw new Error(`${path} is another file`);
    return bytes;
  };
  return { manifest, file };
}

async function judge(
  vectorClass: VectorClass,
  folder: VectorFolder,
): Promise<readonly VectorLine[] | string> {
  const lines: VectorLine[] = [];
  try {
    for await (const line of vectorClass.judge(folder)) lines.push(line);
    return lines;
  } catch (error) {
    return String(error);
  }
}

/** Judges what the test left at `/data` and posts the lines, or the error that ended them, to `/answer`. */
export async function answerWith(vectorClass: VectorClass): Promise<void> {
  const carried = (await (await fetch('/data')).json()) as CarriedFolder;
  const lines = await judge(vectorClass, folderOf(carried));
  await fetch('/answer', { method: 'POST', body: JSON.stringify(lines) });
}
