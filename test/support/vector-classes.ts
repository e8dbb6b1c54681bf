/** The classes of vectors that can be run, by name. A new class is one module and one entry here. */

import { nvidiaVectors } from './vector-nvidia.ts';
import { sevSnpVectors } from './vector-snp.ts';
import { tlogVectors } from './vector-tlog.ts';
import { tpmVectors } from './vector-tpm.ts';
import type { VectorClass } from './vector-runner.ts';

export const vectorClasses: ReadonlyMap<string, VectorClass> = new Map(
  [sevSnpVectors, nvidiaVectors, tlogVectors, tpmVectors].map((vectorClass) => [
    vectorClass.name,
    vectorClass,
  ]),
);
