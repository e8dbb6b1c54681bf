/** One vector with its bytes and its context, as the manifest has it or as the operations of a mutation left it. */

import type { VectorFolder } from './vector-folder.ts';
import type { NvidiaManifest, NvidiaVector, VectorKind, VectorOf } from './vector-nvidia-manifest.ts';

/** Everything that a judge of one manifest needs. */
export interface NvidiaSet {
  readonly folder: VectorFolder;
  readonly manifest: NvidiaManifest;
}

export interface NvidiaCase {
  readonly set: NvidiaSet;
  readonly vector: NvidiaVector;
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** Values of the vector's context, some of them changed by a mutation. */
  readonly context: Readonly<Record<string, unknown>>;
}

/** A case whose kind is known. */
export interface CaseOf<Kind extends VectorKind> extends NvidiaCase {
  readonly vector: VectorOf<Kind>;
}

/** @throws Error when a file is missing or is not what the manifest says it is */
export function caseOf(set: NvidiaSet, vector: NvidiaVector): NvidiaCase {
  const files = 'files' in vector ? Object.entries(vector.files) : [];
  return {
    set,
    vector,
    files: new Map(
      files.flatMap(([name, file]) =>
        file === undefined ? [] : [[name, set.folder.file(file.path, file.sha256)] as const],
      ),
    ),
    context: 'context' in vector && vector.context !== undefined ? vector.context : {},
  };
}

/** @throws Error when there is no vector of that name */
export function vectorById({ manifest }: NvidiaSet, id: string): NvidiaVector {
  const vector = manifest.vectors.find((one) => one.id === id);
  if (vector === undefined) throw new Error(`there is no vector ${id}`);
  return vector;
}

/** @throws Error when the vector has no such file */
export function fileOf({ vector, files }: NvidiaCase, name: string): Uint8Array {
  const bytes = files.get(name);
  if (bytes === undefined) throw new Error(`${vector.id} has no file ${name}`);
  return bytes;
}

/** @throws Error when the context has no such text */
export function contextText({ vector, context }: NvidiaCase, name: string): string {
  const value = context[name];
  if (typeof value !== 'string') throw new Error(`${vector.id} has no ${name}`);
  return value;
}

/** The clock of a case, POSIX seconds. */
export function timeOf(subject: NvidiaCase): number {
  const time = Date.parse(contextText(subject, 'verify_at')) / 1000;
  if (!Number.isInteger(time)) throw new Error(`${subject.vector.id} has no time in verify_at`);
  return time;
}
