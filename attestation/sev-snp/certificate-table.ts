/**
 * The certificate table of an extended report (AMD 56421, "SNP Extended Guest Request"): GUIDs, places and lengths,
 * an entry of zeros, then the certificates. The host fills it, so it is only a proposal: nothing in it counts before
 * its path has been verified. Each entry is DER or PEM; both are seen.
 */

import { concatBytes, fromHex, toHex } from '../core/bytes.ts';
import { encode, fixedBytes, littleEndian, structure } from '../core/layout.ts';
import { looksLikePem, readPem } from '../core/pem.ts';
import { defineRefusals } from '../core/refusal.ts';

export const tableRefusals = defineRefusals('malformed', {
  'snp-table-size': {
    means: 'The certificate table is larger than any real one, or has too many entries.',
    hint: 'A table holds three or four certificates of about 2 KiB; send it as the host gave it.',
  },
  'snp-table-truncated': {
    means: 'The certificate table ends before its entry of zeros.',
    hint: 'The table was cut: give the buffer as many bytes as the host asks for, then collect again.',
  },
  'snp-table-bounds': {
    means: 'An entry of the certificate table lies outside the table, in its header, or in another entry.',
    hint: 'The host provisions this table: have its operator load the certificates again.',
  },
  'snp-table-repeated': {
    means: 'The certificate table has the same GUID twice.',
    hint: 'The host provisions this table: have its operator load the certificates again.',
  },
  'snp-table-stray': {
    means: 'Bytes of the certificate table that belong to no entry are not zero.',
    hint: 'The host provisions this table: have its operator load the certificates again.',
  },
  'snp-certificate-size': {
    means: 'A certificate is larger than any of AMD’s.',
    hint: 'AMD’s certificates have less than 2 KiB; send the certificate alone.',
  },
});

export const MAX_TABLE_BYTES = 64 * 1024;
/** AMD's certificates have at most about 1.7 KiB, as PEM a third more. */
export const MAX_CERTIFICATE_BYTES = 8 * 1024;
const MAX_ENTRIES = 16;
const ENTRY_BYTES = 24;

/** What an entry holds, by GUID in the printed order of its digits (AMD 56421). */
export const CertificateGuid = {
  vcek: '63da758de6644564adc5f4b93be8accd',
  vlek: 'a8074bc2a25a483eaae639c045a0b8a1',
  /** The authority of the VCEK (ASK) or of the VLEK (ASVK). */
  intermediate: '4ab7b379bbac4fe4a02f05aef327c782',
  ark: 'c0b406a4a803495297433fb6014cd0ae',
} as const;

/** One entry: GUID as 32 hexadecimal digits, and its content as the host gave it. */
export interface CertificateTableEntry {
  readonly guid: string;
  readonly content: Uint8Array;
}

interface Placed {
  readonly guid: string;
  readonly start: number;
  readonly end: number;
}

/** Reads a table; one of no bytes at all is empty, as on hosts that provision none. @throws RefusalError `snp-table-*` */
export function readCertificateTable(bytes: Uint8Array, path: string): readonly CertificateTableEntry[] {
  if (bytes.length === 0) return [];
  if (bytes.length > MAX_TABLE_BYTES) throw tooLarge(path, `${bytes.length} bytes`);
  const entries = readHeader(bytes, path);
  checkPlaces(bytes, entries, path);
  return entries.map(({ guid, start, end }) => ({ guid, content: bytes.subarray(start, end) }));
}

function tooLarge(field: string, found: string): Error {
  const expected = `at most ${MAX_ENTRIES} entries in ${MAX_TABLE_BYTES} bytes`;
  return tableRefusals.error('snp-table-size', { field, expected, found });
}

function readHeader(bytes: Uint8Array, path: string): readonly Placed[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const entries: Placed[] = [];
  for (let at = 0; ; at += ENTRY_BYTES) {
    if (at + ENTRY_BYTES > bytes.length) {
      throw tableRefusals.error('snp-table-truncated', {
        field: path,
        expected: 'an entry of zeros at the end of the header',
        found: `${bytes.length} bytes without one`,
      });
    }
    if (bytes.subarray(at, at + ENTRY_BYTES).every((byte) => byte === 0)) return entries;
    if (entries.length === MAX_ENTRIES) throw tooLarge(path, `more than ${MAX_ENTRIES} entries`);
    const start = view.getUint32(at + 16, true);
    // Both are below 2^32 and numbers are exact up to 2^53: the sum does not wrap.
    entries.push({
      guid: toHex(bytes.subarray(at, at + 16)),
      start,
      end: start + view.getUint32(at + 20, true),
    });
  }
}

function checkPlaces(bytes: Uint8Array, entries: readonly Placed[], path: string): void {
  const ordered = entries.toSorted((left, right) => left.start - right.start);
  const gaps: Uint8Array[] = [];
  let free = (entries.length + 1) * ENTRY_BYTES;
  for (const { guid, start, end } of ordered) {
    if (start < free || end > bytes.length || start === end) {
      throw tableRefusals.error('snp-table-bounds', {
        field: `${path}.${guid}`,
        expected: `a content between ${free} and ${bytes.length}`,
        found: `${start} to ${end}`,
      });
    }
    gaps.push(bytes.subarray(free, start));
    free = end;
  }
  for (const gap of [...gaps, bytes.subarray(free)]) checkUnused(gap, path);
  const repeated = entries.find(({ guid }, i) => entries.findIndex((other) => other.guid === guid) < i);
  if (repeated !== undefined) {
    throw tableRefusals.error('snp-table-repeated', {
      field: path,
      expected: 'each GUID once',
      found: `${repeated.guid} twice`,
    });
  }
}

/** Buffers are given in whole pages: what is left over must be zero. */
function checkUnused(bytes: Uint8Array, path: string): void {
  if (bytes.every((byte) => byte === 0)) return;
  throw tableRefusals.error('snp-table-stray', {
    field: path,
    expected: 'zeros between and after the entries',
    found: `${bytes.length} bytes that are not all zero`,
  });
}

const tableEntry = structure({
  guid: fixedBytes(16),
  offset: littleEndian.u32(),
  length: littleEndian.u32({ max: MAX_TABLE_BYTES }),
});

/** Writes a table whose contents follow one another in the order given. @throws RefusalError `layout-value`, `hex-malformed` */
export function writeCertificateTable(entries: readonly CertificateTableEntry[]): Uint8Array {
  let offset = (entries.length + 1) * ENTRY_BYTES;
  const header = entries.map(({ guid, content }) => {
    const entry = { guid: fromHex(guid, 'guid'), offset, length: content.length };
    offset += content.length;
    return encode(tableEntry, entry, 'table');
  });
  return concatBytes(...header, new Uint8Array(ENTRY_BYTES), ...entries.map(({ content }) => content));
}

/** The DER of a certificate that may stand as PEM. @throws RefusalError `snp-certificate-size`, `pem-malformed` */
export function certificateDer(content: Uint8Array, path: string): Uint8Array {
  if (content.length > MAX_CERTIFICATE_BYTES) {
    throw tableRefusals.error('snp-certificate-size', {
      field: path,
      expected: `at most ${MAX_CERTIFICATE_BYTES} bytes`,
      found: `${content.length} bytes`,
    });
  }
  return looksLikePem(content) ? readPem(content, 'CERTIFICATE', path) : content;
}
