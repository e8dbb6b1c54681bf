/**
 * How values stand in entries of opaque data. Each form is a pair of reader and writer; whatever is not of the form is
 * refused.
 */

import { concatBytes, equalBytes, excerpt, fromUtf8, toHex, toUtf8 } from '../core/bytes.ts';
import { decode, encode, fixedBytes, itemsToEnd, littleEndian } from '../core/layout.ts';
import type { Layout } from '../core/layout.ts';
import { opaqueRefusals } from './opaque-data.ts';

const { u32 } = littleEndian;

export /** How one kind of value stands in an entry. */
interface Codec<T> {
  readonly read: (bytes: Uint8Array, field: string) => T;
  readonly write: (value: T) => Uint8Array;
}

function refuseValue(field: string, expected: string, found: string): never {
  throw opaqueRefusals.error('gpu-opaque-value', { field, expected, found });
}

export function plain<T>(layout: Layout<T>): Codec<T> {
  return {
    read: (bytes, field) => decode(layout, bytes, field),
    write: (value) => encode(layout, value, 'opaqueData'),
  };
}

/** Printable text, ended by one NUL or more where `isEnded`; nothing stands behind the first NUL. */
export function text(form: RegExp, { isEnded }: { readonly isEnded: boolean }): Codec<string> {
  return {
    read: (bytes, field) => {
      const end = bytes.indexOf(0);
      const characters = fromUtf8(end < 0 ? bytes : bytes.subarray(0, end), field);
      const isTailZero = bytes.subarray(characters.length).every((byte) => byte === 0);
      if (end >= 0 !== isEnded || !isTailZero || !form.test(characters)) {
        refuseValue(field, `a text of the form ${form.source}`, excerpt(fromUtf8(bytes, field)));
      }
      return characters;
    },
    write: (value) => toUtf8(isEnded ? `${value}\0` : value),
  };
}

function oneOf<const T extends string>(codes: Readonly<Record<T, readonly number[]>>): Codec<T> {
  const entries = Object.entries(codes) as [T, readonly number[]][];
  return {
    read: (bytes, field) => {
      const found = entries.find(([, code]) => equalBytes(Uint8Array.from(code), bytes));
      if (found !== undefined) return found[0];
      const expected = entries.map(([name, code]) => `${toHex(Uint8Array.from(code))} (${name})`).join(', ');
      return refuseValue(field, expected, toHex(bytes.subarray(0, 16)));
    },
    write: (name) => Uint8Array.from(codes[name]),
  };
}

export const PDI_BYTES = 8;
/** NVLinks of one GPU: 18 on Hopper and Blackwell. */
const MAX_LINKS = 36;

/** One identifier (PDI) for each NVLink; GPUs write the bytes in the reverse of the order in certificates. */
export const peerPdis: Codec<readonly Uint8Array[]> = {
  read: (bytes, field) => {
    if (bytes.length > MAX_LINKS * PDI_BYTES)
      refuseValue(field, `${MAX_LINKS} links`, `${bytes.length} bytes`);
    return decode(itemsToEnd(fixedBytes(PDI_BYTES)), bytes, field).map((pdi) => pdi.toReversed());
  },
  write: (pdis) => concatBytes(...pdis.map((pdi) => pdi.toReversed())),
};

const SWITCH_GPUS = 8;
const PORT_MAP_BYTES = 64;

/** The GPUs at a switch, in the byte order of certificates, and which port leads to which. */
export const gpuConnections: Codec<{
  readonly gpuPdis: readonly Uint8Array[];
  readonly portMap: Uint8Array;
}> = {
  read: (bytes, field) => {
    const pdis = decode(fixedBytes(SWITCH_GPUS * PDI_BYTES + PORT_MAP_BYTES), bytes, field);
    const at = (i: number): Uint8Array => pdis.subarray(i * PDI_BYTES, (i + 1) * PDI_BYTES);
    return {
      gpuPdis: Array.from({ length: SWITCH_GPUS }, (_, i) => at(i)),
      portMap: pdis.subarray(SWITCH_GPUS * PDI_BYTES),
    };
  },
  write: ({ gpuPdis, portMap }) => concatBytes(...gpuPdis, portMap),
};

export const measurementCounts: Codec<readonly number[]> = plain(itemsToEnd(u32()));
export const sku = text(/^[A-Z0-9]{1,8}$/, { isEnded: true });
export const modifier = text(/^[A-Z0-9]{0,8}$/, { isEnded: true });
/** 0xaa and 0x55: far from each other, so that no single fault makes one of the other. */
export const switched = oneOf({ enabled: [0xaa], disabled: [0x55] });

/** The feature flag (docs/spec/nvidia-gpu.md, NG-43): single GPU, several GPUs over encrypted NVLink, protected PCIe. */
export const featureFlag = oneOf({ spt: [0, 0], mpt: [1, 0], ppcie: [2, 0] });
