/**
 * The confidential mode of a GPU, as far as its signed report says: a single GPU (SPT), several over encrypted NVLink (MPT),
 * or an HGX board with protected PCIe (PPCIE), whose NVLink traffic is plain text.
 */

import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { GpuPolicy } from './documents.ts';
import type { GpuFields } from './opaque-fields.ts';

export const modeChecks = defineChecks('unacceptable', {
  'gpu-mode-contradiction': {
    means: 'Feature flag and protected-PCIe status of a report contradict each other.',
    hint: 'No sound firmware writes such a report; have the machine examined.',
    protects: 'A GPU on an open fabric could show the flag of a closed one.',
  },
  'gpu-mode-unstated': {
    means: 'The report says nothing about the mode of the GPU.',
    hint: 'Update the driver, or have the operator’s policy accept reports without a mode.',
    protects: 'A GPU in protected-PCIe mode could pass for a single one.',
  },
  'gpu-mode': {
    means: 'The GPU is in a mode that the policy does not accept.',
    hint: 'Set the GPU to an accepted mode; protected PCIe is the weaker one and has to be named by the policy.',
    protects: 'Weights could cross an NVLink fabric in plain text.',
  },
});

export const MODES = ['spt', 'mpt', 'ppcie'] as const;
export type GpuMode = (typeof MODES)[number];

export interface StatedMode {
  readonly mode: GpuMode;
  /** False where the report has neither of the two entries; such drivers know one mode. */
  readonly isStated: boolean;
  /** Whether the two entries, where both are there, agree. */
  readonly isConsistent: boolean;
}

/** What the entries say together. Drivers before opaque data of version 1 have no feature flag. */
export function modeOf({ featureFlag, protectedPcie }: GpuFields): StatedMode {
  const isProtected = protectedPcie === 'enabled';
  const mode = featureFlag ?? (isProtected ? 'ppcie' : 'spt');
  return {
    mode,
    isStated: featureFlag !== undefined || protectedPcie !== undefined,
    isConsistent: protectedPcie === undefined || isProtected === (mode === 'ppcie'),
  };
}

export function appraiseMode(fields: GpuFields, policy: GpuPolicy, checks: Checklist): void {
  const { mode, isStated, isConsistent } = modeOf(fields);
  checks.note(modeChecks, 'gpu-mode-contradiction', isConsistent, {
    field: 'report.opaqueData.featureFlag',
    expected: 'protected PCIe exactly in the mode of that name',
    found: `feature flag ${fields.featureFlag ?? 'none'}, protected PCIe ${fields.protectedPcie ?? 'not stated'}`,
  });
  checks.note(modeChecks, 'gpu-mode-unstated', isStated || policy.unstatedMode === 'accept', {
    field: 'report.opaqueData.featureFlag',
    expected: policy.unstatedMode === 'accept' ? 'a mode or none' : 'a mode',
    found: isStated ? mode : 'none',
  });
  checks.note(modeChecks, 'gpu-mode', policy.modes.includes(mode), {
    field: 'report.opaqueData.featureFlag',
    expected: policy.modes.join(' or '),
    found: mode,
  });
}
