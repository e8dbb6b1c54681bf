/** The statement that the example device signs: 96 bytes, little-endian. Facts only: what the bytes say. */

import { bitField } from '../core/bit-field.ts';
import { toUtf8 } from '../core/bytes.ts';
import {
  constantBytes,
  decode,
  encode,
  fixedBytes,
  littleEndian,
  reserved,
  structure,
} from '../core/layout.ts';
import type { ValueOf } from '../core/layout.ts';

const { u32 } = littleEndian;

const MAGIC = toUtf8('WGEX');

const statement = structure({
  magic: constantBytes(MAGIC),
  version: u32({ oneOf: [1] }),
  flags: bitField(littleEndian, 4, { debug: 0 }),
  firmwareVersion: u32(),
  measurement: fixedBytes(32),
  /** From `computeDeviceValue`: what ties the statement to one challenge, one agent and one device. */
  deviceValue: fixedBytes(32),
  reserved: reserved(16),
});

export type Statement = Omit<ValueOf<typeof statement>, 'magic'>;

/** @throws RefusalError `layout-*` */
export function readStatement(bytes: Uint8Array, path: string): Statement {
  return decode(statement, bytes, path);
}

/** Writes the bytes that {@link readStatement} reads. @throws RefusalError `layout-value` */
export function writeStatement(value: Statement): Uint8Array {
  return encode(statement, { ...value, magic: MAGIC }, 'statement');
}
