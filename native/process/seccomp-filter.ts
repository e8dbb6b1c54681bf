/**
 * Seccomp filters as data: which system calls a process gives up, compiled to the classic BPF program that the kernel
 * runs before each call (Linux `Documentation/userspace-api/seccomp_filter.rst`). Pure: nothing here touches a process.
 *
 * A filter refuses calls by EPERM and lets the rest through. It looks at the architecture first: the same number means
 * another call in another ABI, and a filter that forgets this is walked round through `int 0x80` or x32.
 */

/** The processors whose system call numbers stand below, by their name in `process.arch`. */
export type Architecture = 'x64' | 'arm64';

/** Numbers from the kernel's `unistd_64.h` and `asm-generic/unistd.h`; a call that an ABI lacks is `undefined`. */
interface SystemCallNumbers {
  readonly x64: number;
  readonly arm64: number | undefined;
}

export const systemCalls = {
  socket: { x64: 41, arm64: 198 },
  connect: { x64: 42, arm64: 203 },
  accept: { x64: 43, arm64: 202 },
  sendto: { x64: 44, arm64: 206 },
  sendmsg: { x64: 46, arm64: 211 },
  bind: { x64: 49, arm64: 200 },
  listen: { x64: 50, arm64: 201 },
  accept4: { x64: 288, arm64: 242 },
  sendmmsg: { x64: 307, arm64: 269 },
  ptrace: { x64: 101, arm64: 117 },
  process_vm_readv: { x64: 310, arm64: 270 },
  process_vm_writev: { x64: 311, arm64: 271 },
  pidfd_getfd: { x64: 438, arm64: 438 },
  io_uring_setup: { x64: 425, arm64: 425 },
  io_uring_enter: { x64: 426, arm64: 426 },
  io_uring_register: { x64: 427, arm64: 427 },
  bpf: { x64: 321, arm64: 280 },
  perf_event_open: { x64: 298, arm64: 241 },
  execve: { x64: 59, arm64: 221 },
  execveat: { x64: 322, arm64: 281 },
  open: { x64: 2, arm64: undefined },
  creat: { x64: 85, arm64: undefined },
  openat: { x64: 257, arm64: 56 },
  openat2: { x64: 437, arm64: 437 },
  open_by_handle_at: { x64: 304, arm64: 265 },
  truncate: { x64: 76, arm64: 45 },
  seccomp: { x64: 317, arm64: 277 },
} as const satisfies Record<string, SystemCallNumbers>;

type SystemCall = keyof typeof systemCalls;

/** Refuses a call always, or only when an argument has any of the bits of a mask set (`bits` of its lower half). */
export interface Denial {
  readonly call: SystemCall;
  readonly when?: { readonly argument: number; readonly bits: 'any' | number };
}

/**
 * No way to any network or to another process's memory. `socketpair` stays, for Node's own pipes to a child; so the
 * calls by which one end of such a pair could address a stranger's socket go too.
 */
export const ISOLATION: readonly Denial[] = [
  ...(['socket', 'connect', 'bind', 'listen', 'accept', 'accept4', 'sendmsg', 'sendmmsg'] as const),
  ...(['io_uring_setup', 'io_uring_enter', 'io_uring_register'] as const),
  ...(['ptrace', 'process_vm_readv', 'process_vm_writev', 'pidfd_getfd'] as const),
  ...(['bpf', 'perf_event_open'] as const),
]
  .map((call): Denial => ({ call }))
  .concat({ call: 'sendto', when: { argument: 4, bits: 'any' } });

/** O_WRONLY, O_RDWR, O_CREAT and O_TRUNC of `fcntl.h`; the same bits on both architectures. */
const WRITING_FLAGS = 0o1 | 0o2 | 0o100 | 0o1000;

/** No other program, and no file opened to be written: put in force once everything is loaded. */
export const SEALED: readonly Denial[] = [
  { call: 'execve' },
  { call: 'execveat' },
  { call: 'creat' },
  { call: 'openat2' },
  { call: 'open_by_handle_at' },
  { call: 'truncate' },
  { call: 'open', when: { argument: 1, bits: WRITING_FLAGS } },
  { call: 'openat', when: { argument: 2, bits: WRITING_FLAGS } },
];

/** Classic BPF (`linux/bpf_common.h`): load a word, compare, return. */
const LOAD_WORD = 0x20;
const JUMP_IF_EQUAL = 0x15;
const JUMP_IF_AT_LEAST = 0x35;
const JUMP_IF_ANY_BIT = 0x45;
const RETURN = 0x06;

/** What the filter answers (`linux/seccomp.h`); the errno stands in the lower 16 bits, and EPERM is 1. */
const ALLOW = 0x7fff0000;
const REFUSE = 0x00050000 | 1;

/** Offsets in `struct seccomp_data`; arguments are little-endian on both architectures. */
const CALL_NUMBER_AT = 0;
const ARCHITECTURE_AT = 4;
const ARGUMENTS_AT = 16;

/** `AUDIT_ARCH_*` of `linux/audit.h`. */
const ARCHITECTURE_CODES = { x64: 0xc000003e, arm64: 0xc00000b7 } as const;

/** Numbers from here on belong to the x32 ABI; no call of either architecture's own is as high. */
const X32_CALLS = 0x40000000;

interface Instruction {
  readonly code: number;
  /** Instructions to skip when the comparison holds, and when it does not. */
  readonly then?: number;
  readonly otherwise?: number;
  readonly value: number;
}

const load = (offset: number): Instruction => ({ code: LOAD_WORD, value: offset });
const refuse: Instruction = { code: RETURN, value: REFUSE };
const allow: Instruction = { code: RETURN, value: ALLOW };

/** The BPF program, one `struct sock_filter` of 8 bytes after another. */
export function compileFilter(denials: readonly Denial[], architecture: Architecture): Uint8Array {
  const program: Instruction[] = [
    load(ARCHITECTURE_AT),
    { code: JUMP_IF_EQUAL, then: 1, value: ARCHITECTURE_CODES[architecture] },
    refuse,
    load(CALL_NUMBER_AT),
    { code: JUMP_IF_AT_LEAST, otherwise: 1, value: X32_CALLS },
    refuse,
  ];
  for (const denial of denials) program.push(...denialInstructions(denial, architecture));
  program.push(allow);
  return encodeProgram(program);
}

/** The call's number is in the accumulator before and after each of these groups. */
function denialInstructions(denial: Denial, architecture: Architecture): readonly Instruction[] {
  const number = systemCalls[denial.call][architecture];
  if (number === undefined) return [];
  const body = denial.when === undefined ? [refuse] : conditionInstructions(denial.when);
  return [{ code: JUMP_IF_EQUAL, otherwise: body.length, value: number }, ...body];
}

function conditionInstructions(when: NonNullable<Denial['when']>): readonly Instruction[] {
  const lowerHalfAt = ARGUMENTS_AT + 8 * when.argument;
  if (when.bits !== 'any') {
    return [load(lowerHalfAt), { code: JUMP_IF_ANY_BIT, otherwise: 1, value: when.bits }, refuse, allow];
  }
  return [
    load(lowerHalfAt),
    { code: JUMP_IF_ANY_BIT, then: 2, value: 0xffffffff },
    load(lowerHalfAt + 4),
    { code: JUMP_IF_ANY_BIT, otherwise: 1, value: 0xffffffff },
    refuse,
    allow,
  ];
}

function encodeProgram(program: readonly Instruction[]): Uint8Array {
  const bytes = new Uint8Array(8 * program.length);
  const view = new DataView(bytes.buffer);
  program.forEach((instruction, i) => {
    view.setUint16(8 * i, instruction.code, true);
    view.setUint8(8 * i + 2, instruction.then ?? 0);
    view.setUint8(8 * i + 3, instruction.otherwise ?? 0);
    view.setUint32(8 * i + 4, instruction.value, true);
  });
  return bytes;
}
