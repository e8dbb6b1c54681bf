/** LM-6 to LM-14: the measurement of a launch, against a report that a real machine signed and against another tool. */

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { fromHex, toHex, toUtf8 } from '../../../../attestation/core/bytes.ts';
import { readReport } from '../../../../attestation/sev-snp/layout.ts';
import { hypervisorOf } from '../../../../attestation/sev-snp/launch/hypervisor.ts';
import {
  hashCommandLine,
  NO_INITRD,
  type KernelHashes,
} from '../../../../attestation/sev-snp/launch/kernel-hashes.ts';
import {
  measureFirmware,
  measureLaunch,
  vcpuStateOf,
  type Launch,
  type LaunchFirmware,
} from '../../../../attestation/sev-snp/launch/measure.ts';
import { readOvmf, SectionType, type Section } from '../../../../attestation/sev-snp/launch/ovmf.ts';
import { VCPU_MODEL_NAMES, vcpuSignature } from '../../../../attestation/sev-snp/launch/vcpu-model.ts';
import { GENERAL_SECTIONS, ovmfImage } from '../../../support/ovmf-image.ts';
import { refusalCode, refusalOf } from '../../../support/refusal-code.ts';
import { vectorFolder, vectorsMissing } from '../../../support/vectors.ts';

const sha256 = (bytes: Uint8Array): Uint8Array => new Uint8Array(createHash('sha256').update(bytes).digest());
const measure = (launch: Launch): string => toHex(measureLaunch(launch));
const firmwareOf = (image: Uint8Array): LaunchFirmware => measureFirmware(readOvmf(image));

const amdSev = firmwareOf(ovmfImage());
const general = firmwareOf(ovmfImage({ sections: GENERAL_SECTIONS }));

const kernel: KernelHashes = {
  kernel: sha256(toUtf8('a kernel')),
  initrd: sha256(toUtf8('an initrd')),
  commandLine: hashCommandLine('console=ttyS0 loglevel=7'),
};

const launch: Launch = {
  hypervisor: hypervisorOf('qemu'),
  firmware: amdSev,
  kernel,
  vcpus: 1,
  vcpuSignature: vcpuSignature('EPYC-v4'),
  guestFeatures: 1n,
};

interface MeasurementInputs {
  readonly ovmf_launch_digest: string;
  readonly sections_in_order: readonly { gpa: number; size: number; section_type: Section['type'] }[];
  readonly kernel_sha256: string;
  readonly initrd_sha256: string;
  readonly cmdline: string;
  readonly sev_hashes_table_gpa: number;
  readonly ap_reset_eip: number;
  readonly vcpus: number;
  readonly vcpu_model: string;
  readonly sev_features: number;
}

const missing = vectorsMissing('snp');

describe.skipIf(missing !== undefined)(`a launch on a real machine ${missing ?? ''}`, () => {
  const folder = join(vectorFolder('snp'), 'milan-v3-vcek-measurement');
  const inputs = (): MeasurementInputs =>
    JSON.parse(readFileSync(join(folder, 'measurement-inputs.json'), 'utf8')) as MeasurementInputs;
  const reported = (): string =>
    toHex(readReport(new Uint8Array(readFileSync(join(folder, 'report.bin')))).measurement);
  const ofInputs = (given: MeasurementInputs): Launch => ({
    hypervisor: hypervisorOf('qemu'),
    firmware: {
      digest: fromHex(given.ovmf_launch_digest, 'digest'),
      sections: given.sections_in_order.map(({ gpa, size, section_type: type }) => ({
        address: gpa,
        size,
        type,
      })),
      resetAddress: given.ap_reset_eip,
      kernelHashesAddress: given.sev_hashes_table_gpa,
    },
    kernel: {
      kernel: fromHex(given.kernel_sha256, 'kernel'),
      initrd: fromHex(given.initrd_sha256, 'initrd'),
      commandLine: hashCommandLine(given.cmdline),
    },
    vcpus: given.vcpus,
    vcpuSignature: vcpuSignature(given.vcpu_model),
    guestFeatures: BigInt(given.sev_features),
  });

  it('LM-6 to LM-11: is measured as its signed report says', () => {
    expect(measure(ofInputs(inputs()))).toBe(reported());
  });

  it('LM-6: is measured as something else when any one input is another', () => {
    const given = inputs();
    const [first, ...rest] = given.sections_in_order;
    const changes: readonly Partial<MeasurementInputs>[] = [
      { ovmf_launch_digest: given.ovmf_launch_digest.replace('ff', 'fe') },
      { sections_in_order: [{ ...first!, size: first!.size - 4096 }, ...rest] },
      { sections_in_order: [...rest, first!] },
      { kernel_sha256: given.kernel_sha256.replace('dd', 'dc') },
      { initrd_sha256: given.initrd_sha256.replace('5f', '5e') },
      { cmdline: `${given.cmdline} ` },
      { sev_hashes_table_gpa: given.sev_hashes_table_gpa + 16 },
      { ap_reset_eip: given.ap_reset_eip + 1 },
      { vcpus: given.vcpus + 1 },
      { vcpu_model: 'EPYC-Milan' },
      { sev_features: 0x21 },
    ];
    const measured = changes.map((change) => measure(ofInputs({ ...given, ...change })));
    expect(new Set([...measured, reported()]).size).toBe(changes.length + 1);
  });
});

/** What sev-snp-measure 0.0.13 says of the images of test/support/ovmf-image.ts; interop.test.ts asks it itself. */
const ANSWERS: readonly (readonly [what: string, launch: Launch, answer: string])[] = [
  [
    'kernel, initrd and command line',
    launch,
    'b7c4d3c25e70c3b131f9082cf654dfb8d200a1e81391e2720070d414a1a66660742ff5832d6018caa98cfd733996ef99',
  ],
  [
    'a kernel alone, four vCPUs, debug swap',
    {
      ...launch,
      kernel: { ...kernel, initrd: NO_INITRD, commandLine: hashCommandLine('') },
      vcpus: 4,
      vcpuSignature: vcpuSignature('EPYC-Milan'),
      guestFeatures: 0x21n,
    },
    'b63907b082bba8475489f4b6b2072fbc3f81ee2d02203b4f3328bacecbfd09351ea500c461620438bc77833417126805',
  ],
  [
    'no kernel in a firmware that could take one',
    { ...launch, kernel: null, vcpus: 2, vcpuSignature: vcpuSignature('EPYC-Genoa') },
    'fe042c16c375380c83177c31ed19fb4055ee4863c79c4904e781d5e34097a794a668eb49206d8c7d873055e24f9c2429',
  ],
  [
    '192 vCPUs with a secure TSC',
    {
      ...launch,
      firmware: general,
      kernel: null,
      vcpus: 192,
      vcpuSignature: vcpuSignature('EPYC-Turin'),
      guestFeatures: 0x201n,
    },
    '053b2bfb3e7861f05e81d4dc38f07ce4050e55364e9fe71e63b887d0c34156585480f3846c5475e93062145162478a55',
  ],
  [
    'EC2',
    {
      ...launch,
      hypervisor: hypervisorOf('ec2'),
      firmware: general,
      kernel: null,
      vcpus: 4,
      vcpuSignature: null,
    },
    '2305ffed2c87ab134228d47a70665015e587560cf9617899eddd7197a9351c6af2d9b01f6e16cf1fdcfe63ff4d0a1281',
  ],
  [
    'GCE',
    {
      ...launch,
      hypervisor: hypervisorOf('gce'),
      firmware: general,
      kernel: null,
      vcpus: 4,
      vcpuSignature: null,
    },
    '21ab01707ac567eb3d7a0f59522916724e70422a49ef4ba883abfc15dfeb423e84f7ea2cb2ee3b000542dc22d59b69f5',
  ],
];

describe('a launch', () => {
  it.each(ANSWERS)('LM-6 to LM-12: %s: the answer of sev-snp-measure', (_what, given, answer) => {
    expect(measure(given)).toBe(answer);
  });

  it('LM-6: the pages of an image are measured in their places, from its first address up', () => {
    const [, , answer] = ANSWERS[0]!;
    expect(measure({ ...launch, firmware: firmwareOf(ovmfImage()) })).toBe(answer);
  });

  it('LM-8: a command line is hashed with its NUL and must be one line', () => {
    expect(toHex(hashCommandLine('quiet'))).toBe(toHex(sha256(toUtf8('quiet\0'))));
    expect(refusalCode(() => hashCommandLine('a\0b'))).toBe('launch-command-line');
    expect(refusalCode(() => hashCommandLine('a\nb'))).toBe('launch-command-line');
    expect(refusalOf(() => hashCommandLine('x'.repeat(2048)))).toMatchObject({
      code: 'launch-command-line',
      expected: expect.stringContaining('2047') as unknown,
      found: '2048 bytes',
    });
    expect(refusalOf(() => hashCommandLine('a\nb')).found).toMatch(/^3 bytes .*line end/);
    expect(refusalCode(() => hashCommandLine('x'.repeat(2047)))).toBe('accepted');
  });

  it('LM-9: a kernel that would not be measured is refused', () => {
    expect(refusalCode(() => measure({ ...launch, firmware: general }))).toBe('launch-kernel-unmeasured');
    const ec2 = { ...launch, hypervisor: hypervisorOf('ec2'), vcpuSignature: null };
    expect(refusalCode(() => measure(ec2))).toBe('launch-parameter');
  });

  it.each<[string, Partial<Launch>]>([
    ['no vCPU', { vcpus: 0 }],
    ['a fraction of a vCPU', { vcpus: 1.5 }],
    ['more vCPUs than KVM has', { vcpus: 4097 }],
    ['features without SNPActive', { guestFeatures: 0x20n }],
    ['features without a meaning', { guestFeatures: 0x801n }],
    ['no signature with QEMU', { vcpuSignature: null }],
    ['a signature of more than 32 bits', { vcpuSignature: 2 ** 32 }],
    ['a signature with GCE', { hypervisor: hypervisorOf('gce'), kernel: null }],
  ])('LM-13, LM-14: %s is refused', (_what, change) => {
    expect(refusalCode(() => measure({ ...launch, ...change }))).toBe('launch-parameter');
  });

  it('LM-13, LM-14: what is refused is shown', () => {
    const refused = (change: Partial<Launch>) => refusalOf(() => vcpuStateOf({ ...launch, ...change }));
    expect(refused({ guestFeatures: 0x20n })).toMatchObject({ field: 'guestFeatures', found: '0x20' });
    expect(refused({ vcpuSignature: null })).toMatchObject({ field: 'vcpuSignature', found: 'none' });
    const gce = hypervisorOf('gce');
    expect(refused({ hypervisor: gce, vcpuSignature: 0xa0_0f11 })).toMatchObject({ found: '0xa00f11' });
  });

  it('LM-13, LM-14: vCPUs and signatures have a first and a last value', () => {
    const code = (change: Partial<Launch>) => refusalCode(() => vcpuStateOf({ ...launch, ...change }));
    for (const vcpus of [1, 4096]) expect([vcpus, code({ vcpus })]).toEqual([vcpus, 'accepted']);
    for (const signature of [1, 0xffff_ffff]) {
      expect([signature, code({ vcpuSignature: signature })]).toEqual([signature, 'accepted']);
    }
    for (const signature of [0, -1, 1.5, Number.NaN]) {
      expect([signature, code({ vcpuSignature: signature })]).toEqual([signature, 'launch-parameter']);
    }
  });

  it('LM-12, LM-14: hypervisors and vCPU models out of the tables are refused', () => {
    expect(refusalCode(() => hypervisorOf('hyper-v'))).toBe('launch-hypervisor');
    expect(refusalCode(() => vcpuSignature('Skylake-Server'))).toBe('launch-vcpu-model');
    expect(refusalCode(() => vcpuSignature('constructor'))).toBe('launch-vcpu-model');
  });

  it('LM-11: signatures are those of CPUID', () => {
    const signatures = Object.fromEntries(VCPU_MODEL_NAMES.map((name) => [name, vcpuSignature(name)]));
    expect(signatures).toMatchObject({
      'EPYC-v4': 0x80_0f12,
      'EPYC-Rome': 0x83_0f10,
      'EPYC-Milan': 0xa0_0f11,
      'EPYC-Genoa': 0xa1_0f10,
      'EPYC-Turin': 0xb0_0f00,
    });
  });

  it('LM-7: the order of sections counts', () => {
    const reversed = { ...amdSev, sections: amdSev.sections.toReversed() };
    expect(measure({ ...launch, firmware: reversed })).not.toBe(measure(launch));
    expect(amdSev.sections.map(({ type }) => type)).toContain(SectionType.kernelHashes);
  });
});
