/**
 * The launch measurement that a guest of SEV-SNP must have when it was started as its owner wants: computed from what
 * is started, for comparison with the MEASUREMENT of its report. docs/spec/sev-snp-launch.md has the rules.
 */

import { defineRefusals } from '../../core/refusal.ts';
import type { Hypervisor } from './hypervisor.ts';
import { kernelHashesPage } from './kernel-hashes.ts';
import type { KernelHashes } from './kernel-hashes.ts';
import { SectionType } from './ovmf.ts';
import type { OvmfImage, Section } from './ovmf.ts';
import {
  EMPTY_DIGEST,
  extendWithBlanks,
  extendWithContents,
  extendWithVmsa,
  PAGE_BYTES,
} from './page-info.ts';
import { applicationVcpuPage, bootVcpuPage } from './vmsa.ts';
import type { VcpuState } from './vmsa.ts';

export const launchRefusals = defineRefusals('usage', {
  'launch-parameter': {
    means: 'A parameter of a launch has a value that no launch of this kind can have.',
    hint: 'Give the parameters with which the guest is started; each of them changes the measurement.',
  },
  'launch-kernel-unmeasured': {
    means: 'A kernel would not be part of the measurement, because the firmware has no place for its hash.',
    hint: 'Boot with an OVMF that measures kernels (edk2, OvmfPkg/AmdSev), or leave the kernel out and measure it otherwise.',
  },
});

/** KVM gives no guest more. */
const MAX_VCPUS = 4096;

/** SEV_FEATURES: SNPActive, which every guest of SEV-SNP has. */
export const SNP_ACTIVE = 1n;
/** The features with a published meaning (AMD 24593, volume 2, table B-4; Linux, msr-index.h, two bits further). */
const KNOWN_FEATURES = 0x21_d7ffn;

/** What of a firmware image goes into the measurement. */
export interface LaunchFirmware extends Omit<OvmfImage, 'bytes' | 'address'> {
  /** The launch digest after the pages of the image. */
  readonly digest: Uint8Array;
}

/** What a guest is started with, besides what it runs. */
export interface LaunchParameters {
  readonly hypervisor: Hypervisor;
  readonly vcpus: number;
  /** EAX of CPUID leaf 1 of the vCPU model; null for hypervisors that show none at the start. */
  readonly vcpuSignature: number | null;
  /** SEV_FEATURES. */
  readonly guestFeatures: bigint;
}

/** Everything that decides the measurement of a guest. */
export interface Launch extends LaunchParameters {
  readonly firmware: LaunchFirmware;
  /** Null when the guest's disk or the firmware itself holds the kernel; then it is not part of the measurement. */
  readonly kernel: KernelHashes | null;
}

/** Measures the image itself, by far the longest part. */
export function measureFirmware({ bytes, address, ...firmware }: OvmfImage): LaunchFirmware {
  return { ...firmware, digest: extendWithContents(EMPTY_DIGEST, address, bytes) };
}

/**
 * The expected MEASUREMENT, 48 bytes.
 *
 * @throws RefusalError `launch-parameter`, `launch-kernel-unmeasured`
 */
export function measureLaunch(launch: Launch): Uint8Array {
  const state = vcpuStateOf(launch);
  checkKernel(launch);
  const { firmware, vcpus } = launch;
  const digest = extendWithSections(firmware.digest, launch);
  const booted = extendWithVmsa(digest, bootVcpuPage(state), 1);
  return extendWithVmsa(booted, applicationVcpuPage(firmware.resetAddress, state), vcpus - 1);
}

function extendWithSections(start: Uint8Array, launch: Launch): Uint8Array {
  const { hypervisor, firmware } = launch;
  const isLate = ({ type }: Section): boolean => hypervisor.cpuidLast && type === SectionType.cpuid;
  const late = firmware.sections.filter(isLate);
  const inOrder = [...firmware.sections.filter((section) => !isLate(section)), ...late];
  return inOrder.reduce((digest, section) => extendWithSection(digest, section, launch), start);
}

function extendWithSection(digest: Uint8Array, section: Section, launch: Launch): Uint8Array {
  const { kernel, firmware, hypervisor } = launch;
  const { address, size, type } = section;
  if (type === SectionType.kernelHashes && kernel !== null && firmware.kernelHashesAddress !== null) {
    const page = kernelHashesPage(kernel, firmware.kernelHashesAddress % PAGE_BYTES);
    return extendWithContents(digest, address, page);
  }
  return extendWithBlanks(digest, hypervisor.pageTypes[type], address, size);
}

function refuse(field: string, expected: string, found: string): never {
  throw launchRefusals.error('launch-parameter', { field, expected, found });
}

function checkKernel({ hypervisor, firmware, kernel }: Launch): void {
  if (kernel === null) return;
  if (!hypervisor.bootsKernels)
    refuse('kernel', `none with ${hypervisor.name}, which boots from a disk`, 'one');
  if (firmware.kernelHashesAddress !== null) return;
  throw launchRefusals.error('launch-kernel-unmeasured', {
    field: 'kernel',
    expected: 'a firmware with a section for the hashes of a kernel',
    found: 'a firmware without one',
  });
}

/** How every vCPU starts. @throws RefusalError `launch-parameter` */
export function vcpuStateOf({
  hypervisor,
  vcpus,
  vcpuSignature,
  guestFeatures,
}: LaunchParameters): VcpuState {
  if (!Number.isInteger(vcpus) || vcpus < 1 || vcpus > MAX_VCPUS) {
    refuse('vcpus', `1 to ${MAX_VCPUS}`, String(vcpus));
  }
  if ((guestFeatures & ~KNOWN_FEATURES) !== 0n || (guestFeatures & SNP_ACTIVE) === 0n) {
    refuse('guestFeatures', `bit 0 and others of ${hex(KNOWN_FEATURES)}`, hex(guestFeatures));
  }
  const { name, registers } = hypervisor;
  return { registers, rdx: checkSignature(name, registers.rdx, vcpuSignature), guestFeatures };
}

function checkSignature(hypervisor: string, rdx: number | null, signature: number | null): number {
  if (rdx !== null) {
    if (signature !== null) refuse('vcpuSignature', `none with ${hypervisor}`, hex(signature));
    return rdx;
  }
  if (signature === null) refuse('vcpuSignature', `that of the vCPU model with ${hypervisor}`, 'none');
  if (!Number.isInteger(signature) || signature < 1 || signature > 0xffff_ffff) {
    refuse('vcpuSignature', 'a number of 32 bits, not zero', String(signature));
  }
  return signature;
}

function hex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}
