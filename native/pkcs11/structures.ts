/**
 * The structures of PKCS#11 on 64-bit Linux (OASIS "PKCS #11 Base Specification", section 3; CK_ULONG is eight bytes and
 * members are aligned). A structure that holds pointers stands in one piece of memory with what they point to.
 */

import koffi from 'koffi';

import { concatBytes, fromUtf8 } from '../../attestation/core/bytes.ts';
import { decode, encode, fixedBytes, littleEndian, structure } from '../../attestation/core/layout.ts';
import { offHeapBytes } from '../memory/mapping.ts';
import { pkcs11ContentRefusals } from './refusals.ts';

const { u8, u64 } = littleEndian;

export const ULONG_BYTES = 8;

/** CKA: attributes of objects. */
export const Attribute = {
  class: 0x00,
  token: 0x01,
  private: 0x02,
  label: 0x03,
  value: 0x11,
  keyType: 0x100,
  id: 0x102,
  sensitive: 0x103,
  encrypt: 0x104,
  decrypt: 0x105,
  wrap: 0x106,
  unwrap: 0x107,
  sign: 0x108,
  verify: 0x10a,
  derive: 0x10c,
  valueLength: 0x161,
  extractable: 0x162,
  local: 0x163,
  neverExtractable: 0x164,
  alwaysSensitive: 0x165,
  modifiable: 0x170,
} as const;

export const SECRET_KEY_CLASS = 4n;
export const AES_KEY_TYPE = 0x1fn;

/** CKM. */
export const Mechanism = { aesKeyGeneration: 0x1080, aesGcm: 0x1087 } as const;

/** CKF of tokens. */
export const TokenFlag = {
  userPinInitialized: 0x8n,
  tokenInitialized: 0x400n,
  userPinFinalTry: 0x20000n,
  userPinLocked: 0x40000n,
} as const;

const nativeInitializeArguments = structure({
  mutexFunctions: fixedBytes(32),
  flags: u64(),
  reserved: u64(),
});
const OS_LOCKING_OK = 2n;

/** CK_C_INITIALIZE_ARGS: several threads call, and the library locks with what the system has. */
export function initializeArguments(): Uint8Array {
  const value = { mutexFunctions: new Uint8Array(32), flags: OS_LOCKING_OK, reserved: 0n };
  return encode(nativeInitializeArguments, value, 'initializeArguments');
}

const TOKEN_INFORMATION_BYTES = 208;
const tokenInformation = structure({
  label: fixedBytes(32),
  manufacturer: fixedBytes(32),
  model: fixedBytes(16),
  serial: fixedBytes(16),
  flags: u64(),
  /** Counts of sessions, lengths of PINs, memory: of no use here. */
  limits: fixedBytes(80),
  hardwareVersion: fixedBytes(2),
  firmwareVersion: fixedBytes(2),
  utcTime: fixedBytes(16),
  padding: fixedBytes(4),
});

/** What a token says of itself. */
export interface TokenInformation {
  readonly label: string;
  readonly serial: string;
  readonly flags: bigint;
}

export function tokenInformationRoom(): Uint8Array {
  return offHeapBytes(TOKEN_INFORMATION_BYTES);
}

/** @throws RefusalError `utf8-malformed` */
export function readTokenInformation(bytes: Uint8Array, path: string): TokenInformation {
  const { label, serial, flags } = decode(tokenInformation, bytes, path);
  return { label: paddedText(label, `${path}.label`), serial: paddedText(serial, `${path}.serial`), flags };
}

/** Texts in fields of fixed length are padded with blanks; some libraries end them with NUL against the standard. */
function paddedText(bytes: Uint8Array, path: string): string {
  const end = bytes.indexOf(0);
  return fromUtf8(end < 0 ? bytes : bytes.subarray(0, end), path).trimEnd();
}

const attribute = structure({ type: u64(), address: u64(), length: u64() });
const ATTRIBUTE_BYTES = 24;

/** An attribute to be searched for, or to be given to a new object. */
export type AttributeValue = readonly [type: number, value: Uint8Array | bigint | boolean];

function attributeBytes(value: Uint8Array | bigint | boolean): Uint8Array {
  if (typeof value === 'bigint') return encode(u64(), value, 'attribute');
  if (typeof value === 'boolean') return Uint8Array.of(value ? 1 : 0);
  return value;
}

/** Memory that starts with a head and goes on with the pieces to which the head points. */
function linked(headBytes: number, pieces: readonly Uint8Array[], head: (addresses: bigint[]) => Uint8Array) {
  const memory = offHeapBytes(headBytes + pieces.reduce((sum, piece) => sum + piece.length, 0));
  const base = koffi.address(memory);
  const addresses: bigint[] = [];
  let at = headBytes;
  for (const piece of pieces) {
    addresses.push(base + BigInt(at));
    memory.set(piece, at);
    at += piece.length;
  }
  memory.set(head(addresses), 0);
  return memory;
}

/** An array of CK_ATTRIBUTE with their values behind it. */
export function attributeTemplate(attributes: readonly AttributeValue[]): Uint8Array {
  const values = attributes.map(([, value]) => attributeBytes(value));
  return linked(attributes.length * ATTRIBUTE_BYTES, values, (addresses) =>
    concatBytes(
      ...attributes.map(([type], i) => {
        const length = BigInt(values[i]?.length ?? 0);
        return encode(attribute, { type: BigInt(type), address: addresses[i] ?? 0n, length }, 'attribute');
      }),
    ),
  );
}

/** A template with room for values, which C_GetAttributeValue fills. */
export function attributeRequest(
  attributes: readonly (readonly [type: number, bytes: number])[],
): Uint8Array {
  return attributeTemplate(attributes.map(([type, bytes]) => [type, new Uint8Array(bytes)]));
}

/**
 * The values out of a filled request, each with the length that the library says.
 *
 * @throws RefusalError `pkcs11-answer` where one is longer than the room for it, or was not given
 */
export function readAttributes(
  memory: Uint8Array,
  attributes: readonly (readonly [type: number, bytes: number])[],
  path: string,
): Uint8Array[] {
  let at = attributes.length * ATTRIBUTE_BYTES;
  return attributes.map(([type, bytes], i) => {
    const start = i * ATTRIBUTE_BYTES;
    const { length } = decode(attribute, memory.subarray(start, start + ATTRIBUTE_BYTES), path);
    if (length > BigInt(bytes)) {
      throw pkcs11ContentRefusals.error('pkcs11-answer', {
        field: `${path}.0x${type.toString(16)}`,
        expected: `at most ${bytes} bytes`,
        found: String(length),
      });
    }
    const value = memory.slice(at, at + Number(length));
    at += bytes;
    return value;
  });
}

const mechanism = structure({ type: u64(), parameter: u64(), parameterBytes: u64() });
const MECHANISM_BYTES = 24;

export function plainMechanism(type: number): Uint8Array {
  return encode(mechanism, { type: BigInt(type), parameter: 0n, parameterBytes: 0n }, 'mechanism');
}

export const GCM_IV_BYTES = 12;
export const GCM_TAG_BYTES = 16;
/** CK_GCM_PARAMS of version 2.40 and later. */
const gcmParameters = structure({
  iv: u64(),
  ivBytes: u64(),
  ivBits: u64(),
  associatedData: u64(),
  associatedDataBytes: u64(),
  tagBits: u64(),
});
const GCM_PARAMETERS_BYTES = 48;
const GCM_HEAD_BYTES = MECHANISM_BYTES + GCM_PARAMETERS_BYTES;

/** CKM_AES_GCM with its parameters, the IV and the associated data in one piece of memory. */
export function gcmMechanism(iv: Uint8Array, associatedData: Uint8Array): Uint8Array {
  const memory = linked(GCM_HEAD_BYTES, [iv, associatedData], ([ivAddress = 0n, dataAddress = 0n]) =>
    encode(
      structure({ mechanism: fixedBytes(MECHANISM_BYTES), parameters: gcmParameters }),
      {
        mechanism: new Uint8Array(MECHANISM_BYTES),
        parameters: {
          iv: ivAddress,
          ivBytes: BigInt(iv.length),
          ivBits: BigInt(iv.length * 8),
          associatedData: dataAddress,
          associatedDataBytes: BigInt(associatedData.length),
          tagBits: BigInt(GCM_TAG_BYTES * 8),
        },
      },
      'gcm',
    ),
  );
  const parameter = koffi.address(memory) + BigInt(MECHANISM_BYTES);
  const head = { type: BigInt(Mechanism.aesGcm), parameter, parameterBytes: BigInt(GCM_PARAMETERS_BYTES) };
  memory.set(encode(mechanism, head, 'mechanism'), 0);
  return memory;
}

/** The IV in a mechanism that was used: some tokens write one of their own there. */
export function ivOf(memory: Uint8Array): Uint8Array {
  return memory.slice(GCM_HEAD_BYTES, GCM_HEAD_BYTES + GCM_IV_BYTES);
}

const FUNCTION_LIST_HEAD_BYTES = 8;
const FUNCTION_COUNT = 68;
export const FUNCTION_LIST_BYTES = FUNCTION_LIST_HEAD_BYTES + FUNCTION_COUNT * ULONG_BYTES;

/** CK_FUNCTION_LIST of version 2; later versions begin alike. @returns the version and the addresses in their order */
export function readFunctionList(bytes: Uint8Array): {
  readonly major: number;
  readonly addresses: bigint[];
} {
  const head = structure({ major: u8(), minor: u8(), padding: fixedBytes(6) });
  const { major } = decode(head, bytes.subarray(0, FUNCTION_LIST_HEAD_BYTES), 'functionList');
  const addresses = Array.from({ length: FUNCTION_COUNT }, (_, i) => {
    const at = FUNCTION_LIST_HEAD_BYTES + i * ULONG_BYTES;
    return decode(u64(), bytes.subarray(at, at + ULONG_BYTES), `functionList[${i}]`);
  });
  return { major, addresses };
}

/** Room for one CK_ULONG, with a value that the library may read first. */
export function ulongRoom(value = 0n): Uint8Array {
  const memory = offHeapBytes(ULONG_BYTES);
  memory.set(encode(u64(), value, 'ulong'), 0);
  return memory;
}

export function readUlong(bytes: Uint8Array, path: string): bigint {
  return decode(u64(), bytes, path);
}

/** A count that bounds what is read next. @throws RefusalError `layout-value` */
export function readCount(bytes: Uint8Array, path: string, max: number): number {
  return Number(decode(u64({ max: BigInt(max) }), bytes, path));
}
