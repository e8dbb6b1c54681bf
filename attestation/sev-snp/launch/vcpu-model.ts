/** vCPU models of QEMU that a guest of SEV-SNP can have, by what CPUID tells of them (QEMU, target/i386/cpu.c). */

import { defineRefusals } from '../../core/refusal.ts';

export const vcpuModelRefusals = defineRefusals('usage', {
  'launch-vcpu-model': {
    means: 'A vCPU model is not one whose CPUID signature is known.',
    hint: 'Name the model as it stands after -cpu, or give its signature (EAX of CPUID leaf 1) instead of a name.',
  },
});

interface VcpuModel {
  readonly family: number;
  readonly model: number;
  readonly stepping: number;
  /** A model without its version means the version that the machine type chooses: the signature is the same. */
  readonly names: readonly string[];
}

const MODELS: readonly VcpuModel[] = [
  {
    family: 23,
    model: 1,
    stepping: 2,
    names: ['EPYC', 'EPYC-IBPB', 'EPYC-v1', 'EPYC-v2', 'EPYC-v3', 'EPYC-v4', 'EPYC-v5'],
  },
  {
    family: 23,
    model: 49,
    stepping: 0,
    names: ['EPYC-Rome', 'EPYC-Rome-v1', 'EPYC-Rome-v2', 'EPYC-Rome-v3', 'EPYC-Rome-v4', 'EPYC-Rome-v5'],
  },
  {
    family: 25,
    model: 1,
    stepping: 1,
    names: ['EPYC-Milan', 'EPYC-Milan-v1', 'EPYC-Milan-v2', 'EPYC-Milan-v3'],
  },
  { family: 25, model: 17, stepping: 0, names: ['EPYC-Genoa', 'EPYC-Genoa-v1', 'EPYC-Genoa-v2'] },
  { family: 26, model: 0, stepping: 0, names: ['EPYC-Turin', 'EPYC-Turin-v1'] },
];

export const VCPU_MODEL_NAMES: readonly string[] = MODELS.flatMap(({ names }) => names);

/** EAX of CPUID leaf 1 (AMD 24594, "Family, Model, Stepping Identifiers"): families from 15 on have a second field. */
function signatureOf({ family, model, stepping }: VcpuModel): number {
  const baseFamily = Math.min(family, 15);
  const extendedFamily = family - baseFamily;
  return (extendedFamily << 20) | ((model >> 4) << 16) | (baseFamily << 8) | ((model & 15) << 4) | stepping;
}

/** The CPUID signature of a model by its name in QEMU. @throws RefusalError `launch-vcpu-model` */
export function vcpuSignature(name: string): number {
  const found = MODELS.find(({ names }) => names.includes(name));
  if (found !== undefined) return signatureOf(found);
  throw vcpuModelRefusals.error('launch-vcpu-model', {
    field: 'vcpuType',
    expected: `one of ${VCPU_MODEL_NAMES.join(', ')}`,
    found: name,
  });
}
