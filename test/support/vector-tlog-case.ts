/**
 * One case of the transparency vectors: a bag of members that the judge of its file knows. What a judge throws says no: a
 * refusal of this project, or a `Disagreement` where something that was computed is not what the case states.
 */

import { fromBase64 } from '../../attestation/core/bytes.ts';
import { parseVerifierKey, type VerifierKey } from '../../src/log/verifier-key.ts';

export type VectorCase = Readonly<Record<string, unknown>> & { readonly id: string; readonly expect: string };

/** Reads another file of the folder. */
export type ReadFile = (path: string) => Uint8Array;

/** Returns where the implementation says yes. */
type Judge = (vector: VectorCase, file: ReadFile) => void | Promise<void>;

/** Which judge a case gets: by what members it has, never by a name. */
export interface JudgeRow {
  readonly members: readonly string[];
  readonly judge: Judge;
}

export class Disagreement extends Error {}

/** Demands that something computed is what the case states; what it does not state cannot differ. */
export function agree(found: unknown, expected: unknown, what: string): void {
  if (expected !== undefined && JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Disagreement(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
  }
}

/** A check that is not one of this project's own. */
export function demand(holds: boolean, what: string): asserts holds {
  if (!holds) throw new Disagreement(what);
}

/** @throws TypeError when the case has no such text: the folder is of another form */
export function text(vector: VectorCase, member: string): string {
  const value = vector[member];
  if (typeof value !== 'string') throw new TypeError(`${vector.id}: no text ${member}`);
  return value;
}

export function texts(vector: VectorCase, member: string): readonly string[] {
  const value = vector[member];
  if (!Array.isArray(value)) throw new TypeError(`${vector.id}: no list ${member}`);
  return value as string[];
}

export const number = (vector: VectorCase, member: string): bigint => BigInt(text(vector, member));

export const bytes = (vector: VectorCase, member: string): Uint8Array =>
  fromBase64(text(vector, member), member);

export const hashes = (vector: VectorCase): readonly Uint8Array[] =>
  texts(vector, 'proof').map((hash) => fromBase64(hash, 'proof'));

export const keys = (vector: VectorCase): readonly VerifierKey[] =>
  texts(vector, 'vkeys').map((key) => parseVerifierKey(key, 'vkey'));
