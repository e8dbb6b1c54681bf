/** One entry of the vectors of TPMs with its files, and what a judge of its kind says of it. */

import { z } from 'zod';

import { fromHex } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Verdict } from '../../attestation/core/verdict.ts';
import type { VectorFolder } from './vector-folder.ts';
import type { TpmVector } from './vector-tpm-manifest.ts';

export interface TpmCase {
  readonly vector: TpmVector;
  readonly folder: VectorFolder;
}

/** Facts about an entry by the names of the manifest. */
export type Members = Readonly<Record<string, unknown>>;

/** What stands in the place of a fact that this project does not find out, with the reason. */
export class Unjudged {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** What stands in the place of a remark about how the manifest was made: nothing follows from it. */
export const REMARK = Symbol('remark');

/** What verifying the entry, or one of its parts, comes to. */
export interface Outcome {
  /** Behind the name of the entry where it has several parts, else empty. */
  readonly label: string;
  /** Codes of the refusals; none when it is accepted. */
  readonly codes: readonly string[];
  /** Why it is right that an entry whose cryptography holds is refused all the same. */
  readonly explanation?: string | undefined;
}

/** One kind of entry. Whatever either throws but a refusal is a defect and ends the run. */
export interface KindJudge {
  outcomes(subject: TpmCase): Promise<readonly Outcome[]>;
  members(subject: TpmCase): Promise<Members>;
  /** What must come out where the verdict of the manifest leaves it open, and the facts that it states do not. */
  expectation?(subject: TpmCase): 'accepted' | 'refused' | undefined;
}

export function hasFile({ vector }: TpmCase, name: string): boolean {
  return Object.hasOwn(vector.files, name);
}

/** @throws Error when the entry has no such file, or it is not what the manifest says it is */
export function fileOf({ vector, folder }: TpmCase, name: string): Uint8Array {
  const file = vector.files[name];
  if (file === undefined) throw new Error(`${vector.id} has no file ${name}`);
  const bytes = folder.file(file.path, file.sha256);
  if (bytes.length !== file.size) throw new Error(`${file.path} has ${bytes.length} bytes, not ${file.size}`);
  return bytes;
}

/** A file of the entry as JSON of a shape that is known here. @throws Error when it has another */
export function jsonOf<T>(subject: TpmCase, name: string, shape: z.ZodType<T>): T {
  return shape.parse(JSON.parse(new TextDecoder().decode(fileOf(subject, name))));
}

/** What the manifest states of the entry, as far as a judge needs it to ask its question. */
export function expectedOf<T>({ vector }: TpmCase, shape: z.ZodType<T>): T {
  return shape.parse(vector.expected);
}

/** Hexadecimal of a manifest, of either case. */
export function hexBytes(text: string): Uint8Array {
  return fromHex(text.toLowerCase(), 'vector');
}

export const hexShape = z.string().transform(hexBytes);

/** The codes with which work refuses, thrown or as a verdict. @throws what is no refusal */
export async function refusalsOf(work: () => unknown): Promise<readonly string[]> {
  try {
    const result = await work();
    return isRefused(result) ? result.refusals.map(({ code }) => code) : [];
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return [error.refusal.code];
  }
}

function isRefused(result: unknown): result is Extract<Verdict<object>, { outcome: 'refused' }> {
  return typeof result === 'object' && result !== null && 'outcome' in result && result.outcome === 'refused';
}
