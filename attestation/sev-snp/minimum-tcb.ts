/**
 * Minimum TCBs: named sets with the security bulletins that ask for them, merged to the highest level of each component.
 * They are kept by family, model and stepping, because microcode levels of different steppings have different scales.
 */

import { defineRefusals } from '../core/refusal.ts';
import type { MinimumTcbSet, ProcessorMinimum } from './documents.ts';
import type { FirmwareVersion } from './layout.ts';
import type { Tcb } from './tcb.ts';

export const minimumRefusals = defineRefusals('unacceptable', {
  'snp-minimum-set-unknown': {
    means:
      'The policy names a set of minimum TCBs that is not among the reference values, or is there twice.',
    hint: 'Publish the set under exactly this name, once; sets stand in policies/reference-values/sev-snp.',
  },
});

/** Minima by processor; see `cpuidText`. */
export type Minima = ReadonlyMap<string, ProcessorMinimum>;

/**
 * Merges named sets and further minima.
 *
 * @param sets all that are known; only the named ones count
 * @throws RefusalError `snp-minimum-set-unknown`
 */
export function mergeMinima(
  sets: readonly MinimumTcbSet[],
  names: readonly string[],
  further: readonly ProcessorMinimum[] = [],
): Minima {
  const merged = new Map<string, ProcessorMinimum>();
  const named = names.flatMap((name) =>
    findSet(sets, name).bulletins.flatMap(({ processors }) => processors),
  );
  for (const minimum of [...named, ...further]) {
    const known = merged.get(minimum.processor);
    merged.set(minimum.processor, known === undefined ? minimum : higher(known, minimum));
  }
  return merged;
}

function findSet(sets: readonly MinimumTcbSet[], name: string): MinimumTcbSet {
  const [found, ...others] = sets.filter((set) => set.name === name);
  if (found !== undefined && others.length === 0) return found;
  throw minimumRefusals.error('snp-minimum-set-unknown', {
    field: 'policy.minimumTcb.sets',
    expected: sets.map((set) => set.name).join(', ') || 'a set (there is none)',
    found: found === undefined ? name : `${name} twice`,
  });
}

function higher(left: ProcessorMinimum, right: ProcessorMinimum): ProcessorMinimum {
  return {
    processor: left.processor,
    tcb: higherTcb(left.tcb, right.tcb),
    firmware: isFirmwareBelow(left.firmware, right.firmware) ? right.firmware : left.firmware,
  };
}

function higherTcb(left: Tcb, right: Tcb): Tcb {
  return {
    fmc: left.fmc === undefined ? right.fmc : Math.max(left.fmc, right.fmc ?? 0),
    bootLoader: Math.max(left.bootLoader, right.bootLoader),
    tee: Math.max(left.tee, right.tee),
    snp: Math.max(left.snp, right.snp),
    microcode: Math.max(left.microcode, right.microcode),
  };
}

/** Versions are compared as major, minor, build. */
export function isFirmwareBelow(version: FirmwareVersion, minimum: FirmwareVersion): boolean {
  if (version.major !== minimum.major) return version.major < minimum.major;
  if (version.minor !== minimum.minor) return version.minor < minimum.minor;
  return version.build < minimum.build;
}

export function firmwareText({ major, minor, build }: FirmwareVersion): string {
  return `${major}.${minor}.${build}`;
}
