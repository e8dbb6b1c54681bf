/** Strict conversions between bytes and text. Each refuses what another reader could take for something else (W11). */

import { defineRefusals } from './refusal.ts';

export const textRefusals = defineRefusals('malformed', {
  'hex-malformed': {
    means: 'A text that must be lower-case hexadecimal is not.',
    hint: 'Write two lower-case hexadecimal digits for each byte, without prefix or spaces.',
  },
  'base64-malformed': {
    means: 'A text that must be canonical base64 is not.',
    hint: 'Use the standard alphabet of RFC 4648 section 4, with padding, without line breaks.',
  },
  'utf8-malformed': {
    means: 'Bytes that must be UTF-8 text are not.',
    hint: 'The file or message was cut, or is not text.',
  },
});

// No group repeats in these: a repeated group exhausts the engine's stack on inputs of megabytes.
const HEX = /^[0-9a-f]*$/;
const BASE64 = /^[A-Za-z0-9+/]*={0,2}$/;
const BASE64_ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** A short form of an untrusted text that is safe to show: at most 64 characters, nothing unprintable. */
export function excerpt(text: string): string {
  const printable = text.slice(0, 64).replace(/[^\x20-\x7e]/g, '?');
  return text.length > 64 ? `${printable}… (${text.length} characters)` : printable;
}

const HEX_BYTES = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));

export function toHex(bytes: Uint8Array): string {
  let hex = '';
  for (const byte of bytes) hex += HEX_BYTES[byte] ?? '';
  return hex;
}

/** @throws RefusalError `hex-malformed` */
export function fromHex(text: string, field: string): Uint8Array {
  if (text.length % 2 !== 0 || !HEX.test(text)) {
    throw textRefusals.error('hex-malformed', { field, expected: 'lower-case hex', found: excerpt(text) });
  }
  const bytes = new Uint8Array(text.length / 2);
  for (let i = 0; i < bytes.length; i += 1) bytes[i] = Number.parseInt(text.slice(2 * i, 2 * i + 2), 16);
  return bytes;
}

export function toBase64(bytes: Uint8Array): string {
  const pieces: string[] = [];
  const stride = 0x8000;
  for (let at = 0; at < bytes.length; at += stride) {
    pieces.push(String.fromCharCode(...bytes.subarray(at, at + stride)));
  }
  return btoa(pieces.join(''));
}

/**
 * Reads canonical base64: one text for each byte string, so unused bits of the last digit must be zero.
 *
 * @throws RefusalError `base64-malformed`
 */
export function fromBase64(text: string, field: string): Uint8Array {
  if (text.length % 4 !== 0 || !BASE64.test(text) || !lastDigitIsCanonical(text)) {
    throw textRefusals.error('base64-malformed', {
      field,
      expected: 'canonical base64',
      found: excerpt(text),
    });
  }
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i += 1) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function lastDigitIsCanonical(text: string): boolean {
  if (!text.endsWith('=')) return true;
  const unusedBits = text.endsWith('==') ? 4 : 2;
  const lastDigit = text.charAt(text.indexOf('=') - 1);
  return BASE64_ALPHABET.indexOf(lastDigit) % 2 ** unusedBits === 0;
}

export function toUtf8(text: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(text);
}

/** @throws RefusalError `utf8-malformed` */
export function fromUtf8(bytes: Uint8Array, field: string): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (cause) {
    throw textRefusals.error(
      'utf8-malformed',
      { field, expected: 'UTF-8', found: `${bytes.length} bytes that are not` },
      { cause },
    );
  }
}

export function concatBytes(...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const joined = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Compares whole values without leaving the loop early: the time taken tells nothing about where they differ. */
export function equalBytes(left: Uint8Array, right: Uint8Array): boolean {
  if (left.length !== right.length) return false;
  let difference = 0;
  for (let i = 0; i < left.length; i += 1) difference |= (left[i] ?? 0) ^ (right[i] ?? 0);
  return difference === 0;
}

/** Whether every byte is zero; so it is of none. */
export function isZero(bytes: Uint8Array): boolean {
  for (let i = 0; i < bytes.length; i += 1) if (bytes[i] !== 0) return false;
  return true;
}
