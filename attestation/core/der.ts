/**
 * A strict reader of DER (ITU-T X.690 sections 8 and 10): definite lengths in their shortest form, no trailing bytes,
 * one byte of tag. It walks as deep as the structure that its caller declares and no deeper, so hostile nesting
 * costs nothing. Elements are views of the input: nothing is copied.
 *
 * Why our own: docs/decisions/0010-own-der-reader.md.
 */

import { fromUtf8, toHex } from './bytes.ts';
import { defineRefusals } from './refusal.ts';

export const derRefusals = defineRefusals('malformed', {
  'der-truncated': {
    means: 'A DER element ends after the bytes that hold it.',
    hint: 'The file or message was cut; collect or fetch it again.',
  },
  'der-trailing': {
    means: 'Bytes follow where a DER structure has to end.',
    hint: 'Remove what was appended; unsigned extra bytes are never ignored.',
  },
  'der-length': {
    means: 'The length of a DER element is indefinite or not in its shortest form.',
    hint: 'The bytes are BER, not DER: have their issuer encode them anew.',
  },
  'der-tag': {
    means: 'A DER element is not of the type that belongs in its place.',
    hint: 'The structure was altered, or is not what it is given out to be.',
  },
  'der-value': {
    means: 'The content of a DER element is not a canonical value of its type.',
    hint: 'The structure was altered, or its issuer does not write DER.',
  },
});

/** Identifier octets of the universal types that certificates and answers about them use. */
export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  objectIdentifier: 0x06,
  enumerated: 0x0a,
  utf8String: 0x0c,
  printableString: 0x13,
  ia5String: 0x16,
  utcTime: 0x17,
  generalizedTime: 0x18,
  sequence: 0x30,
  set: 0x31,
} as const;

/** The identifier octet of a context-specific type. */
export function contextTag(number: number, form: 'primitive' | 'constructed'): number {
  return (form === 'constructed' ? 0xa0 : 0x80) | number;
}

/** One element: tag, content, and the whole of its encoding. */
export interface DerElement {
  readonly tag: number;
  readonly content: Uint8Array;
  readonly encoded: Uint8Array;
  /** Where it stands, for refusals. */
  readonly path: string;
}

/** Reads the elements of one constructed content, one after another. */
export class DerReader {
  private readonly bytes: Uint8Array;
  private readonly path: string;
  private position = 0;

  constructor(bytes: Uint8Array, path: string) {
    this.bytes = bytes;
    this.path = path;
  }

  get isAtEnd(): boolean {
    return this.position === this.bytes.length;
  }

  /** The next element, which must be there and be of this type. @throws RefusalError `der-*` */
  next(tag: number, name: string): DerElement {
    const path = `${this.path}.${name}`;
    const element = elementAt(this.bytes, this.position, path);
    if (element.tag !== tag) {
      throw derRefusals.error('der-tag', {
        field: path,
        expected: showTag(tag),
        found: showTag(element.tag),
      });
    }
    this.position += element.encoded.length;
    return element;
  }

  /** The next element if it is of this type. @throws RefusalError `der-*` */
  optional(tag: number, name: string): DerElement | undefined {
    return this.bytes[this.position] === tag ? this.next(tag, name) : undefined;
  }

  /** The next element of whatever type. @throws RefusalError `der-*` */
  any(name: string): DerElement {
    const element = elementAt(this.bytes, this.position, `${this.path}.${name}`);
    this.position += element.encoded.length;
    return element;
  }

  /** @throws RefusalError `der-trailing` when elements are left */
  end(): void {
    if (this.isAtEnd) return;
    throw derRefusals.error('der-trailing', {
      field: this.path,
      expected: `${this.position} bytes`,
      found: `${this.bytes.length} bytes`,
    });
  }
}

/** Opens a constructed element. */
export function contentOf(element: DerElement): DerReader {
  return new DerReader(element.content, element.path);
}

/** Reads the one element that makes up the whole input. @throws RefusalError `der-*` */
export function readElement(bytes: Uint8Array, tag: number, path: string): DerElement {
  const element = readFirstElement(bytes, tag, path);
  if (element.encoded.length === bytes.length) return element;
  throw derRefusals.error('der-trailing', {
    field: path,
    expected: `${element.encoded.length} bytes`,
    found: `${bytes.length} bytes`,
  });
}

/**
 * Reads the element at the start of a longer input. For storage areas that are larger than what they hold; the
 * caller has to judge the rest.
 *
 * @throws RefusalError `der-*`
 */
export function readFirstElement(bytes: Uint8Array, tag: number, path: string): DerElement {
  const element = elementAt(bytes, 0, path);
  if (element.tag === tag) return element;
  throw derRefusals.error('der-tag', { field: path, expected: showTag(tag), found: showTag(element.tag) });
}

function elementAt(bytes: Uint8Array, start: number, path: string): DerElement {
  const tag = bytes[start];
  if (tag === undefined) throw truncated(path, 'an element', 'no byte');
  if ((tag & 0x1f) === 0x1f) {
    throw derRefusals.error('der-tag', { field: path, expected: 'a tag of one byte', found: showTag(tag) });
  }
  const { contentAt, length } = lengthAt(bytes, start + 1, path);
  const end = contentAt + length;
  if (end > bytes.length) throw truncated(path, `${length} bytes`, `${bytes.length - contentAt} bytes`);
  return { tag, content: bytes.subarray(contentAt, end), encoded: bytes.subarray(start, end), path };
}

/** Lengths of up to three bytes: 16 MiB is far more than any structure that we read. */
const MAX_LENGTH_BYTES = 3;

function lengthAt(bytes: Uint8Array, at: number, path: string): { contentAt: number; length: number } {
  const first = bytes[at];
  if (first === undefined) throw truncated(path, 'a length', 'no byte');
  if (first < 0x80) return { contentAt: at + 1, length: first };
  const count = first & 0x7f;
  if (count === 0 || count > MAX_LENGTH_BYTES) throw badLength(path, showTag(first));
  const digits = bytes.subarray(at + 1, at + 1 + count);
  if (digits.length < count) throw truncated(path, `a length of ${count} bytes`, `${digits.length} bytes`);
  const length = digits.reduce((value, digit) => value * 256 + digit, 0);
  if (length < 0x80 || digits[0] === 0) throw badLength(path, toHex(digits));
  return { contentAt: at + 1 + count, length };
}

function truncated(field: string, expected: string, found: string): Error {
  return derRefusals.error('der-truncated', { field, expected, found });
}

function badLength(field: string, found: string): Error {
  return derRefusals.error('der-length', { field, expected: 'a definite length in shortest form', found });
}

function badValue(element: DerElement, expected: string): Error {
  const found = toHex(element.content.subarray(0, 32));
  return derRefusals.error('der-value', { field: element.path, expected, found });
}

function showTag(tag: number): string {
  return `0x${tag.toString(16).padStart(2, '0')}`;
}

/** BOOLEAN; DER knows one spelling of true. @throws RefusalError `der-value` */
export function booleanOf(element: DerElement): boolean {
  const [value] = element.content;
  if (element.content.length !== 1 || (value !== 0 && value !== 0xff)) throw badValue(element, '00 or ff');
  return value === 0xff;
}

/** Magnitude of a positive or zero INTEGER, without a leading zero byte. @throws RefusalError `der-value` */
export function unsignedIntegerOf(element: DerElement): Uint8Array {
  const [first, second] = element.content;
  const isMinimal = first !== undefined && !(first === 0 && second !== undefined && second < 0x80);
  if (!isMinimal || first >= 0x80) throw badValue(element, 'a positive integer in shortest form');
  return first === 0 && second !== undefined ? element.content.subarray(1) : element.content;
}

/** A small INTEGER as a number. @throws RefusalError `der-value` if negative or above 2^31 */
export function smallIntegerOf(element: DerElement): number {
  const magnitude = unsignedIntegerOf(element);
  if (magnitude.length > 4) throw badValue(element, 'an integer of at most 4 bytes');
  return magnitude.reduce((value, byte) => value * 256 + byte, 0);
}

/**
 * BIT STRING. Trailing zero bits of named bit lists are accepted although DER drops them: endorsement certificates
 * of real TPMs carry them in keyUsage. Bits that the encoding calls unused must be zero.
 *
 * @throws RefusalError `der-value`
 */
export function bitStringOf(element: DerElement): {
  readonly unusedBits: number;
  readonly bytes: Uint8Array;
} {
  const [unusedBits] = element.content;
  const bytes = element.content.subarray(1);
  const last = bytes.at(-1) ?? 0;
  if (unusedBits === undefined || unusedBits > 7 || (bytes.length === 0 && unusedBits > 0)) {
    throw badValue(element, 'a bit string');
  }
  if ((last & ((1 << unusedBits) - 1)) !== 0) throw badValue(element, 'unused bits that are zero');
  return { unusedBits, bytes };
}

/** A BIT STRING of whole bytes, such as a key or a signature. @throws RefusalError `der-value` */
export function byteStringOf(element: DerElement): Uint8Array {
  const { unusedBits, bytes } = bitStringOf(element);
  if (unusedBits !== 0) throw badValue(element, 'a bit string of whole bytes');
  return bytes;
}

/** OBJECT IDENTIFIER in dotted form. @throws RefusalError `der-value` */
export function objectIdentifierOf(element: DerElement): string {
  const { content } = element;
  if (content.length === 0 || content.length > 64 || (content.at(-1) ?? 0) >= 0x80) {
    throw badValue(element, 'an object identifier of at most 64 bytes');
  }
  const arcs: bigint[] = [];
  let arc = 0n;
  let isFirstByte = true;
  for (const byte of content) {
    if (isFirstByte && byte === 0x80) throw badValue(element, 'arcs in shortest form');
    arc = (arc << 7n) | BigInt(byte & 0x7f);
    isFirstByte = byte < 0x80;
    if (isFirstByte) {
      arcs.push(arc);
      arc = 0n;
    }
  }
  const [first = 0n, ...rest] = arcs;
  const root = first < 80n ? first / 40n : 2n;
  return [root, first - 40n * root, ...rest].join('.');
}

const UTC_TIME = /^(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;
const GENERALIZED_TIME = /^(\d{4})(\d{2})(\d{2})(\d{2})(\d{2})(\d{2})Z$/;

/** UTCTime or GeneralizedTime in the forms of RFC 5280 section 4.1.2.5, as POSIX seconds. @throws RefusalError */
export function timeOf(element: DerElement): number {
  const isUtcTime = element.tag === Tag.utcTime;
  if (!isUtcTime && element.tag !== Tag.generalizedTime) {
    throw derRefusals.error('der-tag', {
      field: element.path,
      expected: 'UTCTime or GeneralizedTime',
      found: showTag(element.tag),
    });
  }
  const text = String.fromCharCode(...element.content.subarray(0, 32));
  const parts = (isUtcTime ? UTC_TIME : GENERALIZED_TIME).exec(text)?.slice(1).map(Number);
  if (parts === undefined) throw badValue(element, 'a time in UTC with seconds');
  const [yearDigits = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0] = parts;
  const year = isUtcTime ? yearDigits + (yearDigits < 50 ? 2000 : 1900) : yearDigits;
  const date = new Date(0);
  date.setUTCFullYear(year, month - 1, day);
  date.setUTCHours(hour, minute, second);
  const isReal =
    date.getUTCMonth() === month - 1 && date.getUTCDate() === day && hour < 24 && minute < 60 && second < 60;
  if (!isReal) throw badValue(element, 'a time that exists');
  return date.getTime() / 1000;
}

/** UTF8String, PrintableString or IA5String. @throws RefusalError `der-tag`, `utf8-malformed` */
export function textOf(element: DerElement): string {
  const known: readonly number[] = [Tag.utf8String, Tag.printableString, Tag.ia5String];
  if (!known.includes(element.tag)) {
    throw derRefusals.error('der-tag', {
      field: element.path,
      expected: 'a text of type UTF8String, PrintableString or IA5String',
      found: showTag(element.tag),
    });
  }
  return fromUtf8(element.content, element.path);
}
