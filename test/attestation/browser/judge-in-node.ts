/** The lines of a class of vectors in Node, with every file that judging them asked for. */

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { openVectorFolder } from '../../support/vector-folder.ts';
import type { VectorFolder } from '../../support/vector-folder.ts';
import type { VectorClass, VectorLine } from '../../support/vector-runner.ts';
import { vectorFolder } from '../../support/vectors.ts';
import type { CarriedFolder } from './carried-folder.ts';

export interface JudgedInNode {
  readonly lines: readonly VectorLine[];
  readonly carried: CarriedFolder;
}

export async function judgeInNode(vectorClass: VectorClass): Promise<JudgedInNode> {
  const folder = openVectorFolder(vectorFolder(vectorClass.name));
  const files: Record<string, string> = {};
  const listening: VectorFolder = {
    ...folder,
    file: (path, digest) => {
      const bytes = folder.file(path, digest);
      files[path] = toBase64(bytes);
      return bytes;
    },
  };
  const lines: VectorLine[] = [];
  for await (const line of vectorClass.judge(listening)) lines.push(line);
  return { lines, carried: { manifest: folder.manifest, files } };
}
