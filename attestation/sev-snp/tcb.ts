/**
 * TCB_VERSION: the security patch levels of a platform's firmware (AMD 56860). Eight bytes whose meaning changed with
 * Turin, so that they cannot be read without knowing the product. The components are independent: a TCB is compared
 * component by component and never as one number.
 */

import { decode, encode, littleEndian, reserved, structure } from '../core/layout.ts';
import type { ProductLine } from './product.ts';

const { u8 } = littleEndian;

const milanTcb = structure({
  bootLoader: u8(),
  tee: u8(),
  reserved: reserved(4),
  snp: u8(),
  microcode: u8(),
});

const turinTcb = structure({
  fmc: u8(),
  bootLoader: u8(),
  tee: u8(),
  snp: u8(),
  reserved: reserved(3),
  microcode: u8(),
});

/** Components of a TCB in the order in which AMD names them. */
export const TCB_COMPONENTS = ['fmc', 'bootLoader', 'tee', 'snp', 'microcode'] as const;
export type TcbComponent = (typeof TCB_COMPONENTS)[number];

/** Security patch levels, 0 to 255 each. Before Turin there is no `fmc`: it is undefined. */
export interface Tcb {
  readonly fmc: number | undefined;
  readonly bootLoader: number;
  readonly tee: number;
  readonly snp: number;
  readonly microcode: number;
}

/** `milan`: family 19h, struct_version 0 of the certificate; `turin`: family 1Ah, struct_version 1. */
export type TcbEncoding = 'milan' | 'turin';

export function tcbEncodingOf(line: ProductLine): TcbEncoding {
  return line === 'Turin' ? 'turin' : 'milan';
}

/** @throws RefusalError `layout-*` when reserved bytes of this encoding are not zero */
export function readTcb(encoding: TcbEncoding, bytes: Uint8Array, path: string): Tcb {
  if (encoding === 'turin') return decode(turinTcb, bytes, path);
  return { fmc: undefined, ...decode(milanTcb, bytes, path) };
}

/** Writes the 8 bytes that {@link readTcb} reads. @throws RefusalError `layout-value` */
export function writeTcb(encoding: TcbEncoding, tcb: Tcb, path = 'tcb'): Uint8Array {
  return encoding === 'turin'
    ? encode(turinTcb, { ...tcb, fmc: tcb.fmc ?? 0 }, path)
    : encode(milanTcb, tcb, path);
}

/** The components of `tcb` that are below `minimum`; a component that only one of the two has is below. */
export function componentsBelow(tcb: Tcb, minimum: Tcb): readonly TcbComponent[] {
  return TCB_COMPONENTS.filter((name) => {
    const [found, wanted] = [tcb[name], minimum[name]];
    if (found === undefined || wanted === undefined) return found !== wanted;
    return found < wanted;
  });
}

export function tcbText(tcb: Tcb): string {
  let text = '';
  for (const name of TCB_COMPONENTS) {
    const level = tcb[name];
    if (level !== undefined) text += `${text === '' ? '' : ', '}${name} ${level}`;
  }
  return text;
}
