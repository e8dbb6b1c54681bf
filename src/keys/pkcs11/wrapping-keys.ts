/** The wrapping keys on a token: how they are made, found, ordered, and what they must be (KC-60, KC-61). */

import { randomBytes } from 'node:crypto';

import { equalBytes, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import { bigEndian, decode, encode, fixedBytes, structure } from '../../../attestation/core/layout.ts';
import { pkcs11ContentRefusals, pkcs11KeyRefusals } from '../../../native/pkcs11/refusals.ts';
import type { Pkcs11Session } from '../../../native/pkcs11/session.ts';
import {
  AES_KEY_TYPE,
  Attribute,
  type AttributeValue,
  readUlong,
  SECRET_KEY_CLASS,
  ULONG_BYTES,
} from '../../../native/pkcs11/structures.ts';
import { WRAPPING_KEY_ID_BYTES } from './wrapped-key.ts';

const KEY_BYTES = 32n;
const GENERATION_BYTES = 8;

/** CKA_ID: the highest generation is current, so that no state stands outside of the token. */
const identifierLayout = structure({
  generation: bigEndian.u64(),
  random: fixedBytes(WRAPPING_KEY_ID_BYTES - GENERATION_BYTES),
});

/** A wrapping key as a session sees it. */
export interface TokenKey {
  readonly handle: bigint;
  /** CKA_ID. */
  readonly id: Uint8Array;
  readonly generation: bigint;
}

const YES = Uint8Array.of(1);
const NO = Uint8Array.of(0);

/** What every wrapping key must be, by the word of its token. */
const DEMANDED = [
  ['CKA_TOKEN', Attribute.token, YES],
  ['CKA_PRIVATE', Attribute.private, YES],
  ['CKA_SENSITIVE', Attribute.sensitive, YES],
  ['CKA_ALWAYS_SENSITIVE', Attribute.alwaysSensitive, YES],
  ['CKA_EXTRACTABLE', Attribute.extractable, NO],
  ['CKA_NEVER_EXTRACTABLE', Attribute.neverExtractable, YES],
  ['CKA_LOCAL', Attribute.local, YES],
  ['CKA_MODIFIABLE', Attribute.modifiable, NO],
  ['CKA_ENCRYPT', Attribute.encrypt, YES],
  ['CKA_DECRYPT', Attribute.decrypt, YES],
  ['CKA_WRAP', Attribute.wrap, NO],
  ['CKA_UNWRAP', Attribute.unwrap, NO],
  ['CKA_DERIVE', Attribute.derive, NO],
] as const;

function searched(label: string): readonly AttributeValue[] {
  return [
    [Attribute.class, SECRET_KEY_CLASS],
    [Attribute.token, true],
    [Attribute.label, toUtf8(label)],
  ];
}

/**
 * All wrapping keys of a label, the current one first. Each is checked each time: whoever administers the token may
 * have put another key in its place.
 *
 * @throws RefusalError `pkcs11-key-attributes`, `pkcs11-answer`, `pkcs11-*`
 */
export async function findTokenKeys(session: Pkcs11Session, label: string): Promise<readonly TokenKey[]> {
  const keys: TokenKey[] = [];
  for (const handle of await session.find(searched(label))) {
    keys.push(await checkedKey(session, handle, label));
  }
  const ids = new Set(keys.map(({ id }) => toHex(id)));
  if (ids.size !== keys.length) throw refuseAnswer(label, 'keys of different CKA_ID', 'two with the same');
  return keys.toSorted((left, right) => (toHex(left.id) < toHex(right.id) ? 1 : -1));
}

async function checkedKey(session: Pkcs11Session, handle: bigint, label: string): Promise<TokenKey> {
  const [id, keyType, length, ...flags] = await session.attributes(handle, [
    [Attribute.id, WRAPPING_KEY_ID_BYTES],
    [Attribute.keyType, ULONG_BYTES],
    [Attribute.valueLength, ULONG_BYTES],
    ...DEMANDED.map(([, type]) => [type, 1] as const),
  ]);
  if (id?.length !== WRAPPING_KEY_ID_BYTES) {
    throw refuseAnswer(label, `a CKA_ID of ${WRAPPING_KEY_ID_BYTES} bytes`, `${id?.length ?? 0} bytes`);
  }
  const field = `${label} ${toHex(id)}`;
  requireUlong(keyType, AES_KEY_TYPE, `${field} CKA_KEY_TYPE`);
  requireUlong(length, KEY_BYTES, `${field} CKA_VALUE_LEN`);
  DEMANDED.forEach(([name, , expected], i) => {
    const found = flags[i] ?? new Uint8Array(0);
    if (!equalBytes(found, expected)) throw refuseKey(`${field} ${name}`, toHex(expected), toHex(found));
  });
  return { handle, id, generation: decode(identifierLayout, id, 'id').generation };
}

function requireUlong(bytes: Uint8Array | undefined, expected: bigint, field: string): void {
  const found = readUlong(bytes ?? new Uint8Array(0), field);
  if (found !== expected) throw refuseKey(field, String(expected), String(found));
}

function refuseKey(field: string, expected: string, found: string): Error {
  return pkcs11KeyRefusals.error('pkcs11-key-attributes', { field, expected, found });
}

function refuseAnswer(field: string, expected: string, found: string): Error {
  return pkcs11ContentRefusals.error('pkcs11-answer', { field, expected, found });
}

/** Makes a key on the token that comes after all others. @throws RefusalError `pkcs11-*` */
export async function generateTokenKey(
  session: Pkcs11Session,
  label: string,
  others: readonly TokenKey[],
): Promise<void> {
  const generation = others.reduce(
    (highest, key) => (key.generation > highest ? key.generation : highest),
    0n,
  );
  const random = Uint8Array.from(randomBytes(WRAPPING_KEY_ID_BYTES - GENERATION_BYTES));
  const id = encode(identifierLayout, { generation: generation + 1n, random }, 'id');
  await session.generateAesKey([
    [Attribute.class, SECRET_KEY_CLASS],
    [Attribute.keyType, AES_KEY_TYPE],
    [Attribute.valueLength, KEY_BYTES],
    [Attribute.label, toUtf8(label)],
    [Attribute.id, id],
    [Attribute.token, true],
    [Attribute.private, true],
    [Attribute.sensitive, true],
    [Attribute.extractable, false],
    [Attribute.modifiable, false],
    [Attribute.encrypt, true],
    [Attribute.decrypt, true],
    [Attribute.wrap, false],
    [Attribute.unwrap, false],
    [Attribute.derive, false],
  ]);
}
