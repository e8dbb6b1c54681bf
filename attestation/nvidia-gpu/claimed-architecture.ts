/**
 * The label under which NVIDIA's tools pass evidence on (`arch`). Nobody signs it and no rule follows from it; one that is wrong
 * says that somebody took the device for another (docs/spec/nvidia-gpu.md, NG-18).
 */

import { excerpt } from '../core/bytes.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { AuthenticReport } from './authenticate.ts';

export const architectureChecks = defineChecks('inauthentic', {
  'gpu-architecture': {
    means: 'Evidence was sent under the label of another architecture than the certified one.',
    hint: 'Send the evidence as NVIDIA’s tools wrote it; HOPPER, BLACKWELL and LS10 are the labels.',
    protects: 'Whoever goes by the label would apply the rules of another chip.',
  },
});

/** @param label as it was sent @throws RefusalError `gpu-architecture` */
export function demandArchitecture(
  label: string,
  { chain: { family } }: Pick<AuthenticReport, 'chain'>,
  checks: Checklist,
): void {
  checks.demand(architectureChecks, 'gpu-architecture', label === family.architecture, {
    field: 'arch',
    expected: `${family.architecture}, as certified`,
    found: excerpt(label),
  });
}
