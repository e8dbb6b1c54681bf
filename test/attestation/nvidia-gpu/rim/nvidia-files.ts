/** What NVIDIA itself has signed: the manifests and reports among the shared vectors, as their manifest describes them. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { nvidiaAnchors } from '../../../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import type { RimInputs } from '../../../../attestation/nvidia-gpu/rim/authenticate.ts';
import { readNvidiaManifest } from '../../../support/vector-nvidia-manifest.ts';
import type { NvidiaVector, VectorKind, VectorOf } from '../../../support/vector-nvidia-manifest.ts';
import { vectorFolder, vectorsMissing } from '../../../support/vectors.ts';

/** Why there are none; undefined when there are. */
export const missing = vectorsMissing('nvidia');

const file = (path: string): Buffer => readFileSync(join(vectorFolder('nvidia'), path));
const vectors: readonly NvidiaVector[] =
  missing === undefined ? readNvidiaManifest(JSON.parse(file('manifest.json').toString())).vectors : [];

export function vectorsOf<Kind extends VectorKind>(kind: Kind): readonly VectorOf<Kind>[] {
  return vectors.filter((vector): vector is VectorOf<Kind> => vector.kind === kind);
}

/** The manifest of this identifier in the vectors. */
export function rimVector(id: string): VectorOf<'rim'> {
  const found = vectorsOf('rim').find((vector) => vector.id === id);
  if (found === undefined) throw new Error(`no vector ${id}`);
  return found;
}

export function rimBytes({ files }: VectorOf<'rim'>): Uint8Array {
  return new Uint8Array(file(files.rim.path));
}

export function fileBytes(path: string): Uint8Array {
  return new Uint8Array(file(path));
}

/** NVIDIA's root at the time that the vector names. Answers about the certificates are not among the vectors. */
export function inputsAt(vector: VectorOf<'rim'>): RimInputs {
  return {
    anchors: nvidiaAnchors,
    time: Date.parse(vector.context?.verify_at ?? '2025-01-01T00:00:00Z') / 1000,
    revocation: { collateral: new Map(), maxAgeSeconds: 0, missing: 'accept', hold: 'refuse' },
  };
}
