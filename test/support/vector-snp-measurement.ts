/** Vectors that say how a guest was launched: its measurement is computed again, and from inputs that differ in one. */

import { z } from 'zod';

import { fromHex, toHex } from '../../attestation/core/bytes.ts';
import { hypervisorOf } from '../../attestation/sev-snp/launch/hypervisor.ts';
import { hashCommandLine } from '../../attestation/sev-snp/launch/kernel-hashes.ts';
import { measureLaunch } from '../../attestation/sev-snp/launch/measure.ts';
import { SectionType } from '../../attestation/sev-snp/launch/ovmf.ts';
import { VCPU_MODEL_NAMES, vcpuSignature } from '../../attestation/sev-snp/launch/vcpu-model.ts';
import type { EditCase, EditRule, EditSubject } from './vector-snp-edits.ts';
import type { SnpVector } from './vector-snp-manifest.ts';
import { ACCEPTED, snpFile } from './vector-snp-question.ts';
import type { SnpSet } from './vector-snp-question.ts';
import type { VectorLine } from './vector-runner.ts';

const inputsShape = z.object({
  ovmf_launch_digest: z.string(),
  sections_in_order: z.array(
    z.object({ gpa: z.number(), size: z.number(), section_type: z.literal(Object.values(SectionType)) }),
  ),
  kernel_sha256: z.string(),
  initrd_sha256: z.string(),
  cmdline: z.string(),
  sev_hashes_table_gpa: z.number(),
  ap_reset_eip: z.number(),
  vcpus: z.number(),
  vcpu_model: z.string(),
  sev_features: z.number(),
  vmm: z.string(),
  expected_measurement: z.string(),
});
type LaunchInputs = z.infer<typeof inputsShape>;

function inputsOf(set: SnpSet, { files }: SnpVector): LaunchInputs {
  const bytes = snpFile(set, files.measurement_inputs ?? '');
  return inputsShape.parse(JSON.parse(Buffer.from(bytes).toString('utf8')));
}

function measurementOf(inputs: LaunchInputs): string {
  const sections = inputs.sections_in_order.map(({ gpa, size, section_type: type }) => ({
    address: gpa,
    size,
    type,
  }));
  const measurement = measureLaunch({
    hypervisor: hypervisorOf(inputs.vmm.toLowerCase()),
    firmware: {
      digest: fromHex(inputs.ovmf_launch_digest, 'ovmf_launch_digest'),
      sections,
      resetAddress: inputs.ap_reset_eip,
      kernelHashesAddress: inputs.sev_hashes_table_gpa,
    },
    kernel: {
      kernel: fromHex(inputs.kernel_sha256, 'kernel_sha256'),
      initrd: fromHex(inputs.initrd_sha256, 'initrd_sha256'),
      commandLine: hashCommandLine(inputs.cmdline),
    },
    vcpus: inputs.vcpus,
    vcpuSignature: vcpuSignature(inputs.vcpu_model),
    guestFeatures: BigInt(inputs.sev_features),
  });
  return toHex(measurement);
}

/** The measurement computed from the inputs stands in the signed report. */
export function measurementLine(set: SnpSet, vector: SnpVector): VectorLine {
  const inputs = inputsOf(set, vector);
  const got = measurementOf(inputs);
  const reported = toHex(snpFile(set, vector.files.report).subarray(0x90, 0xc0));
  return {
    subject: `${vector.id}#measurement`,
    expected: inputs.expected_measurement,
    got,
    code: '-',
    agrees: got === inputs.expected_measurement && got === reported,
  };
}

/** Inputs that differ in one, by the name of what differs. */
const CHANGES: Readonly<Record<string, (inputs: LaunchInputs) => Partial<LaunchInputs>>> = {
  'vcpu count': ({ vcpus }) => ({ vcpus: vcpus + 1 }),
  'vcpu model': ({ vcpu_model: model }) => ({
    vcpu_model: VCPU_MODEL_NAMES.find((name) => vcpuSignature(name) !== vcpuSignature(model)) ?? model,
  }),
  'cmdline byte': ({ cmdline }) => ({ cmdline: `${cmdline.slice(0, -1)}~` }),
  'one section size': ({ sections_in_order: [first, ...rest] }) =>
    first === undefined ? {} : { sections_in_order: [{ ...first, size: first.size + 4096 }, ...rest] },
};

function changedLaunch({ set, vector }: EditSubject, name: string): EditCase {
  const change = CHANGES[name];
  if (change === undefined) throw new Error(`no rule for a change of ${name}`);
  const inputs = inputsOf(set, vector);
  const isSame = (): boolean =>
    measurementOf({ ...inputs, ...change(inputs) }) === inputs.expected_measurement;
  const differs = { family: 'unacceptable', codes: ['snp-measurement'] } as const;
  return { label: name, expected: 'refused', judge: () => Promise.resolve(isSame() ? ACCEPTED : differs) };
}

export const MEASUREMENT_RULES: readonly EditRule<EditSubject>[] = [
  {
    phrase: /^any one input changed \((.+)\)$/,
    cases: ([, names = ''], subject) => names.split(', ').map((name) => changedLaunch(subject, name)),
  },
];
