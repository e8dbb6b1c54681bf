/** What the browser runs: the judge of NVIDIA's vectors as it is, over a folder that the test left in the page. */

import { sha256 } from '@noble/hashes/sha2.js';

import { fromBase64, toHex } from '../../../attestation/core/bytes.ts';
import { nvidiaVectors } from '../../support/vector-nvidia.ts';
import type { VectorLine } from '../../support/vector-runner.ts';

/** A folder of vectors as JSON carries it. */
export interface CarriedFolder {
  readonly manifest: unknown;
  /** Base64, by the path in the manifest. */
  readonly files: Readonly<Record<string, string>>;
}

const { manifest, files } = (await (await fetch('/data')).json()) as CarriedFolder;

function file(path: string, digest?: string): Uint8Array {
  const bytes = fromBase64(files[path] ?? '', path);
  if (digest !== undefined && toHex(sha256(bytes)) !== digest) throw new Error(`${path} is another file`);
  return bytes;
}

async function judge(): Promise<readonly VectorLine[] | string> {
  const lines: VectorLine[] = [];
  try {
    for await (const line of nvidiaVectors.judge({ manifest, file })) lines.push(line);
    return lines;
  } catch (error) {
    return String(error);
  }
}

await fetch('/answer', { method: 'POST', body: JSON.stringify(await judge()) });
