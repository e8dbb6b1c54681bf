/** DER by node-forge: the few types that certificates and revocation lists are made of (RFC 5280). */

import forge from 'node-forge';

import { concatBytes } from '../../../attestation/core/bytes.ts';

export type DerValue = forge.asn1.Asn1;

const { asn1 } = forge;
const { Class, Type } = asn1;

/** node-forge names all tags like the universal types of the same number. */
const CONTEXT_TAGS = [
  ...[Type.NONE, Type.BOOLEAN, Type.INTEGER, Type.BITSTRING, Type.OCTETSTRING],
  ...[Type.NULL, Type.OID, Type.ODESC, Type.EXTERNAL, Type.REAL],
] as const;
type ContextTag = 0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9;

function primitive(type: forge.asn1.Type, content: Uint8Array): DerValue {
  return asn1.create(Class.UNIVERSAL, type, false, Buffer.from(content).toString('binary'));
}

export function sequence(...items: readonly DerValue[]): DerValue {
  return asn1.create(Class.UNIVERSAL, Type.SEQUENCE, true, [...items]);
}

export function set(...items: readonly DerValue[]): DerValue {
  return asn1.create(Class.UNIVERSAL, Type.SET, true, [...items]);
}

/** A member of its own tag around an item, or in place of the tag of a sequence of items. */
export function explicit(tag: ContextTag, ...items: readonly DerValue[]): DerValue {
  return asn1.create(Class.CONTEXT_SPECIFIC, CONTEXT_TAGS[tag], true, [...items]);
}

/** A member of its own tag whose content is the bytes. */
export function implicit(tag: ContextTag, content: Uint8Array): DerValue {
  const value = Buffer.from(content).toString('binary');
  return asn1.create(Class.CONTEXT_SPECIFIC, CONTEXT_TAGS[tag], false, value);
}

export function objectIdentifier(dotted: string): DerValue {
  return asn1.create(Class.UNIVERSAL, Type.OID, false, asn1.oidToDer(dotted).getBytes());
}

export function integer(value: number): DerValue {
  return asn1.create(Class.UNIVERSAL, Type.INTEGER, false, asn1.integerToDer(value).getBytes());
}

/** A positive INTEGER of any size. @param magnitude big-endian, not empty */
export function largeInteger(magnitude: Uint8Array): DerValue {
  const firstUsed = magnitude.findIndex((byte) => byte !== 0);
  const shortest = firstUsed < 0 ? Uint8Array.of(0) : magnitude.subarray(firstUsed);
  const sign = (shortest[0] ?? 0) < 0x80 ? new Uint8Array() : Uint8Array.of(0);
  return primitive(Type.INTEGER, concatBytes(sign, shortest));
}

export function enumerated(value: number): DerValue {
  return primitive(Type.ENUMERATED, Uint8Array.of(value));
}

export function boolean(value: boolean): DerValue {
  return primitive(Type.BOOLEAN, Uint8Array.of(value ? 0xff : 0));
}

export function nothing(): DerValue {
  return primitive(Type.NULL, new Uint8Array());
}

export function octetString(content: Uint8Array): DerValue {
  return primitive(Type.OCTETSTRING, content);
}

export function bitString(content: Uint8Array, unusedBits = 0): DerValue {
  return primitive(Type.BITSTRING, concatBytes(Uint8Array.of(unusedBits), content));
}

export function utf8Text(text: string): DerValue {
  return primitive(Type.UTF8, Buffer.from(text, 'utf8'));
}

export function printableText(text: string): DerValue {
  return primitive(Type.PRINTABLESTRING, Buffer.from(text, 'latin1'));
}

export function ia5Text(text: string): DerValue {
  return primitive(Type.IA5STRING, Buffer.from(text, 'latin1'));
}

/** UTCTime, which says years up to 2049. */
export function utcTime(posixSeconds: number): DerValue {
  const text = asn1.dateToUtcTime(new Date(posixSeconds * 1000));
  return asn1.create(Class.UNIVERSAL, Type.UTCTIME, false, text);
}

/** GeneralizedTime, for every year of four digits. */
export function generalizedTime(posixSeconds: number): DerValue {
  const text = asn1.dateToGeneralizedTime(new Date(posixSeconds * 1000));
  return asn1.create(Class.UNIVERSAL, Type.GENERALIZEDTIME, false, text);
}

/** What was encoded already. */
export function encoded(der: Uint8Array): DerValue {
  return asn1.fromDer(Buffer.from(der).toString('binary'), { decodeBitStrings: false } as never);
}

export function toDer(value: DerValue): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.from(asn1.toDer(value).getBytes(), 'binary'));
}
