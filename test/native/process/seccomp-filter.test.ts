import { describe, expect, it } from 'vitest';
import {
  compileFilter,
  ISOLATION,
  SEALED,
  systemCalls,
  type Architecture,
  type Denial,
} from '../../../native/process/seccomp-filter.ts';

const ALLOWED = 0x7fff0000;
const REFUSED = 0x00050001;
const architectureCodes = { x64: 0xc000003e, arm64: 0xc00000b7 };

interface Call {
  readonly architecture: number;
  readonly number: number;
  readonly args?: readonly bigint[];
}

/** The kernel's reading of a classic BPF program, as far as our filters use it. */
function interpret(program: Uint8Array, call: Call): number {
  const data = new DataView(new ArrayBuffer(64));
  data.setUint32(0, call.number, true);
  data.setUint32(4, call.architecture, true);
  (call.args ?? []).forEach((value, i) => {
    data.setBigUint64(16 + 8 * i, value, true);
  });
  const view = new DataView(program.buffer, program.byteOffset, program.byteLength);
  let accumulator = 0;
  for (let at = 0; at < program.length / 8; at += 1) {
    const code = view.getUint16(8 * at, true);
    const value = view.getUint32(8 * at + 4, true);
    const jump = (holds: boolean): void => {
      at += view.getUint8(8 * at + (holds ? 2 : 3));
    };
    if (code === 0x06) return value;
    if (code === 0x20) accumulator = data.getUint32(value, true);
    else if (code === 0x15) jump(accumulator === value);
    else if (code === 0x35) jump(accumulator >= value);
    else if (code === 0x45) jump((accumulator & value) !== 0);
    else throw new Error(`instruction ${code}`);
  }
  throw new Error('the program ends without an answer');
}

function answer(
  denials: readonly Denial[],
  architecture: Architecture,
  call: Omit<Call, 'architecture'>,
): number {
  return interpret(compileFilter(denials, architecture), {
    architecture: architectureCodes[architecture],
    ...call,
  });
}

describe.each(['x64', 'arm64'] as const)('the filters for %s', (architecture) => {
  it('GD-31: refuse every call of the list that has no condition, and no other', () => {
    const refused = new Set<number>();
    for (let number = 0; number < 500; number += 1) {
      if (answer(ISOLATION, architecture, { number }) === REFUSED) refused.add(number);
    }
    const listed = ISOLATION.filter((denial) => denial.when === undefined);
    expect([...refused].sort()).toEqual(listed.map(({ call }) => systemCalls[call][architecture]).sort());
  });

  it('GD-31: refuse to address a stranger through a pair of sockets', () => {
    const number = systemCalls.sendto[architecture];
    const to = (address: bigint): bigint[] => [3n, 0x1000n, 1n, 0n, address, 0n];
    expect(answer(ISOLATION, architecture, { number, args: to(0n) })).toBe(ALLOWED);
    expect(answer(ISOLATION, architecture, { number, args: to(0x1000n) })).toBe(REFUSED);
    expect(answer(ISOLATION, architecture, { number, args: to(0x7f0000000000n) })).toBe(REFUSED);
  });

  it('GD-32: refuse to open for writing and let reading through', () => {
    const number = systemCalls.openat[architecture];
    const open = (flags: number): number =>
      answer(SEALED, architecture, { number, args: [0n, 0n, BigInt(flags), 0n, 0n, 0n] });
    expect(open(0o2000000)).toBe(ALLOWED);
    for (const flags of [0o1, 0o2, 0o100, 0o1000, 0o20200000 | 0o2]) expect(open(flags)).toBe(REFUSED);
  });

  it('GD-31: refuse every call of another architecture or of the x32 ABI', () => {
    const program = compileFilter(ISOLATION, architecture);
    const getpid = 39;
    const x86 = 0x40000003;
    expect(interpret(program, { architecture: x86, number: getpid })).toBe(REFUSED);
    const own = architectureCodes[architecture];
    expect(interpret(program, { architecture: own, number: 0x40000000 + 41 })).toBe(REFUSED);
    expect(interpret(program, { architecture: own, number: getpid })).toBe(ALLOWED);
  });
});
