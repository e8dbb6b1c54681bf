/** Reference values from a machine that is known to be good: what its logs prove, in the form of a document. */

import { toHex } from '../../core/bytes.ts';
import type { JsonValue } from '../../core/canonical-json.ts';
import type { ImaEntry } from '../ima/read.ts';
import type { BootFacts } from './facts.ts';

/**
 * The member `boot` of reference values that this boot matches (docs/spec/tpm-boot.md, BC-10). What the facts do not tell is empty.
 *
 * @param facts from logs that agree with the registers of the machine
 */
export function recordBoot(facts: BootFacts): Readonly<Record<string, JsonValue>> {
  const loader = facts.loader ?? [];
  const texts = loader.flatMap(({ text }) => (text === undefined || text === '' ? [] : [text]));
  const untold = loader.filter(({ text }) => text === undefined || text === '');
  const programs = (facts.agent ?? []).filter(({ kind }) => kind === 'agent-program');
  return {
    images: distinct(facts.images ?? []),
    loader: {
      digests: distinct(untold.map(({ digest }) => digest)),
      texts: distinct(texts).map((exact) => ({ exact })),
    },
    uki: (facts.uki?.sections ?? []).map(({ section, digest }) => ({ section, digest })),
    mok: distinct(facts.mok ?? []),
    files: filesOf(facts.files ?? []),
    agentPrograms: distinct(programs.map(({ digest }) => toHex(digest))),
  };
}

function distinct(values: readonly string[]): readonly string[] {
  return [...new Set(values)];
}

/** The boot aggregate is that of this boot alone; a violation has no content. */
function filesOf([, ...entries]: readonly ImaEntry[]): Readonly<Record<string, readonly string[]>> {
  const files: Record<string, readonly string[]> = {};
  for (const { path, digest, isViolation } of entries) {
    if (isViolation) continue;
    files[path] = distinct([...(Object.hasOwn(files, path) ? (files[path] ?? []) : []), toHex(digest)]);
  }
  return files;
}
