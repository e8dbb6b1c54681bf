/**
 * Certificates as a TPM stores them (docs/spec/tpm-identity.md, section 1): the area is often larger than what it holds,
 * and the vendors of TPM 1.2 put a header of seven bytes in front (TCG "PC Client Specific Implementation Specification
 * for Conventional BIOS", section 7.4.4), which some of them kept. Facts only.
 */

import { toHex } from '../core/bytes.ts';
import { readFirstElement, Tag } from '../core/der.ts';
import { bigEndian, decode, remainingBytes, structure } from '../core/layout.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';

export const storedCertificateChecks = defineChecks('inauthentic', {
  'tpm-ek-padding': {
    means: 'Around the endorsement certificate stands something other than a header and padding.',
    hint: 'Send the certificate as it stands in the TPM’s memory, or cut to its length.',
    protects: 'Two readers could take the same bytes for two certificates.',
  },
});

const { u8, u16 } = bigEndian;

/** TCG_TAG_PCCLIENT_STORED_CERT, which no DER begins with. */
const STORED_CERTIFICATE = 0x1001;
const FULL_CERTIFICATE = 0x1002;
/** What `size` counts besides the certificate: the second tag. */
const TAG_BYTES = 2;

const storedCertificate = structure({
  tag: u16({ oneOf: [STORED_CERTIFICATE] }),
  type: u8({ oneOf: [0] }),
  size: u16(),
  contentTag: u16({ oneOf: [FULL_CERTIFICATE] }),
  content: remainingBytes(),
});

/** Where a certificate stands in what was read from a TPM. */
export interface StoredCertificate {
  /** DER. */
  readonly encoded: Uint8Array;
  readonly padding: Uint8Array;
  /** Length of the certificate by the word of the header; undefined without one. */
  readonly statedLength: number | undefined;
}

/** @throws RefusalError `der-*`, `layout-*` */
export function readStoredCertificate(stored: Uint8Array, path: string): StoredCertificate {
  const hasHeader = stored[0] === STORED_CERTIFICATE >> 8 && stored[1] === (STORED_CERTIFICATE & 0xff);
  const header = hasHeader ? decode(storedCertificate, stored, path) : undefined;
  const content = header?.content ?? stored;
  const { encoded } = readFirstElement(content, Tag.sequence, path);
  return {
    encoded,
    padding: content.subarray(encoded.length),
    statedLength: header && header.size - TAG_BYTES,
  };
}

/**
 * Demands that nothing is hidden beside the certificate.
 *
 * @returns the certificate in DER
 * @throws RefusalError `tpm-ek-padding`
 */
export function demandPlainStorage(
  { encoded, padding, statedLength }: StoredCertificate,
  checks: Checklist,
): Uint8Array {
  const isPadding = padding.every((byte) => byte === 0) || padding.every((byte) => byte === 0xff);
  const isWhole = statedLength === undefined || statedLength === encoded.length;
  checks.demand(storedCertificateChecks, 'tpm-ek-padding', isPadding && isWhole, {
    field: 'ekCertificate',
    expected: `${encoded.length} bytes and nothing but 00 or ff after them`,
    found: `${statedLength ?? encoded.length} bytes, then ${padding.length} ${isPadding ? 'of padding' : `that start with ${toHex(padding.subarray(0, 16))}`}`,
  });
  return encoded;
}
