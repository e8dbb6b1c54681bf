/**
 * Hypervisors whose SNP launches are known well enough to compute them. They differ in the pages that they add and
 * in the registers that vCPUs start with; docs/decisions/0110 says where each value comes from.
 */

import { defineRefusals } from '../../core/refusal.ts';
import { SectionType } from './ovmf.ts';
import type { SectionTypeValue } from './ovmf.ts';
import { PageType } from './page-info.ts';
import type { BlankPageType } from './page-info.ts';

export const hypervisorRefusals = defineRefusals('usage', {
  'launch-hypervisor': {
    means: 'A hypervisor is not one whose launches can be computed.',
    hint: 'For another one, record the measurement of a machine that you launched and trust, or add its rules.',
  },
});

/** Initial register values that are not the same everywhere. Attributes are those of a VMCB segment. */
export interface InitialRegisters {
  readonly bootCodeAttributes: number;
  readonly codeAttributes: number;
  readonly stackAttributes: number;
  readonly taskAttributes: number;
  readonly pat: bigint;
  readonly mxcsr: number;
  readonly x87ControlWord: number;
  /** RDX; null where it is the CPUID signature of the guest's vCPU model. */
  readonly rdx: number | null;
}

export interface Hypervisor {
  readonly name: 'qemu' | 'ec2' | 'gce';
  /** Whether it can boot a kernel directly and measure its hashes. */
  readonly bootsKernels: boolean;
  /** How the pages of each section are added where they hold nothing of the guest's owner. */
  readonly pageTypes: Readonly<Record<SectionTypeValue, BlankPageType>>;
  /** Whether the page of CPUID values comes after all other sections instead of at its place in the table. */
  readonly cpuidLast: boolean;
  readonly registers: InitialRegisters;
}

const PAGE_TYPES = {
  [SectionType.secMemory]: PageType.zero,
  [SectionType.secrets]: PageType.secrets,
  [SectionType.cpuid]: PageType.cpuid,
  [SectionType.svsmCaa]: PageType.zero,
  [SectionType.kernelHashes]: PageType.zero,
} as const;

/** PAT after reset (AMD 24593, section 7.8). */
const RESET_PAT = 0x0007_0406_0007_0406n;
/** RDX after reset of a processor that names no model. */
const RESET_RDX = 0x600;

const HYPERVISORS: readonly Hypervisor[] = [
  {
    name: 'qemu',
    bootsKernels: true,
    pageTypes: PAGE_TYPES,
    cpuidLast: false,
    registers: {
      bootCodeAttributes: 0x9b,
      codeAttributes: 0x9b,
      stackAttributes: 0x93,
      taskAttributes: 0x8b,
      pat: RESET_PAT,
      mxcsr: 0x1f80,
      x87ControlWord: 0x37f,
      rdx: null,
    },
  },
  {
    name: 'ec2',
    bootsKernels: false,
    pageTypes: PAGE_TYPES,
    cpuidLast: true,
    registers: {
      bootCodeAttributes: 0x9a,
      codeAttributes: 0x9b,
      stackAttributes: 0x92,
      taskAttributes: 0x83,
      pat: RESET_PAT,
      mxcsr: 0,
      x87ControlWord: 0,
      rdx: RESET_RDX,
    },
  },
  {
    name: 'gce',
    bootsKernels: false,
    pageTypes: { ...PAGE_TYPES, [SectionType.secMemory]: PageType.unmeasured },
    cpuidLast: false,
    registers: {
      bootCodeAttributes: 0x9b,
      codeAttributes: 0x9b,
      stackAttributes: 0x93,
      taskAttributes: 0x8b,
      pat: 0x0007_0106n,
      mxcsr: 0,
      x87ControlWord: 0,
      rdx: RESET_RDX,
    },
  },
];

export const HYPERVISOR_NAMES: readonly string[] = HYPERVISORS.map(({ name }) => name);

/** @throws RefusalError `launch-hypervisor` */
export function hypervisorOf(name: string): Hypervisor {
  const found = HYPERVISORS.find((known) => known.name === name);
  if (found !== undefined) return found;
  throw hypervisorRefusals.error('launch-hypervisor', {
    field: 'hypervisor',
    expected: `one of ${HYPERVISOR_NAMES.join(', ')}`,
    found: name,
  });
}
