/**
 * VMSA (AMD 24593, "AMD64 Architecture Programmer's Manual" volume 2, table B-4 "VMSA layout, state save area for
 * SEV-ES"): the registers with which a vCPU starts. The page of each vCPU is measured at launch.
 */

import { encode, littleEndian, reserved, structure } from '../../core/layout.ts';
import type { InitialRegisters } from './hypervisor.ts';

const { u16, u32, u64 } = littleEndian;

const segment = structure({ selector: u16(), attributes: u16(), limit: u32(), base: u64() });

/** Registers that no hypervisor here sets are zero, and not named. Each gap says the offset at which it ends. */
const vmsa = structure({
  es: segment,
  cs: segment,
  ss: segment,
  ds: segment,
  fs: segment,
  gs: segment,
  gdtr: segment,
  ldtr: segment,
  idtr: segment,
  tr: segment,
  until0xd0: reserved(0xd0 - 0xa0),
  efer: u64(),
  until0x148: reserved(0x148 - 0xd8),
  cr4: u64(),
  until0x158: reserved(0x158 - 0x150),
  cr0: u64(),
  dr7: u64(),
  dr6: u64(),
  rflags: u64(),
  rip: u64(),
  until0x268: reserved(0x268 - 0x180),
  pat: u64(),
  until0x310: reserved(0x310 - 0x270),
  rdx: u64(),
  until0x3b0: reserved(0x3b0 - 0x318),
  sevFeatures: u64(),
  until0x3e8: reserved(0x3e8 - 0x3b8),
  xcr0: u64(),
  until0x408: reserved(0x408 - 0x3f0),
  mxcsr: u32(),
  until0x410: reserved(0x410 - 0x40c),
  x87ControlWord: u16(),
  until0x1000: reserved(0x1000 - 0x412),
});

/** Where the first vCPU of a machine starts: 16 bytes before the end of its firmware. */
const RESET_VECTOR = 0xffff_fff0;

const EFER_SVME = 0x1000n;
const CR4_MCE = 0x40n;
const CR0_EXTENSION_TYPE = 0x10n;
const DR6_RESET = 0xffff_0ff0n;
const DR7_RESET = 0x400n;
const RFLAGS_RESET = 2n;
const XCR0_X87 = 1n;
const CODE_SELECTOR = 0xf000;
const DATA_ATTRIBUTES = 0x93;
const LDT_ATTRIBUTES = 0x82;

/** What decides the state of a vCPU, besides which of them it is. */
export interface VcpuState {
  readonly registers: InitialRegisters;
  /** RDX at the start. */
  readonly rdx: number;
  /** SEV_FEATURES. */
  readonly guestFeatures: bigint;
}

function pageOf(
  start: number,
  codeAttributes: number,
  { registers, rdx, guestFeatures }: VcpuState,
): Uint8Array {
  const of = (attributes: number) => ({ selector: 0, attributes, limit: 0xffff, base: 0n });
  const data = of(DATA_ATTRIBUTES);
  const state = {
    es: data,
    cs: {
      selector: CODE_SELECTOR,
      attributes: codeAttributes,
      limit: 0xffff,
      base: BigInt(start - (start % 0x1_0000)),
    },
    ss: of(registers.stackAttributes),
    ds: data,
    fs: data,
    gs: data,
    gdtr: of(0),
    ldtr: of(LDT_ATTRIBUTES),
    idtr: of(0),
    tr: of(registers.taskAttributes),
    efer: EFER_SVME,
    cr4: CR4_MCE,
    cr0: CR0_EXTENSION_TYPE,
    dr7: DR7_RESET,
    dr6: DR6_RESET,
    rflags: RFLAGS_RESET,
    rip: BigInt(start % 0x1_0000),
    pat: registers.pat,
    rdx: BigInt(rdx),
    sevFeatures: guestFeatures,
    xcr0: XCR0_X87,
    mxcsr: registers.mxcsr,
    x87ControlWord: registers.x87ControlWord,
  };
  return encode(vmsa, state, 'vmsa');
}

/** The page of the vCPU that boots. */
export function bootVcpuPage(state: VcpuState): Uint8Array {
  return pageOf(RESET_VECTOR, state.registers.bootCodeAttributes, state);
}

/** The page of every other vCPU. @param resetAddress where the firmware makes it start */
export function applicationVcpuPage(resetAddress: number, state: VcpuState): Uint8Array {
  return pageOf(resetAddress, state.registers.codeAttributes, state);
}
