/**
 * ATTESTATION_REPORT of SEV-SNP (AMD 56860, "SEV Secure Nested Paging Firmware ABI", table of the structure), in its
 * versions 2 to 5. Facts only: what the bytes say, not who wrote them. Everything but `signature` is signed.
 */

import { bitField, openBitField } from '../core/bit-field.ts';
import { decode, dependent, encode, fixedBytes, littleEndian, reserved, structure } from '../core/layout.ts';
import type { Layout, ValueOf } from '../core/layout.ts';
import { defineRefusals } from '../core/refusal.ts';

const { u8, u32, u64 } = littleEndian;

export const reportRefusals = defineRefusals('malformed', {
  'snp-report-size': {
    means: 'An attestation report of SEV-SNP has not the one size that there is.',
    hint: 'Send the 1184 bytes that the firmware gave, without the header of the request in front of them.',
  },
  'snp-report-version': {
    means: 'An attestation report of SEV-SNP is of a version that this release does not know.',
    hint: 'Versions 2 to 5 are known; a newer release may know more.',
  },
});

export const REPORT_BYTES = 1184;
/** The signature is made over so many bytes from the start. */
export const SIGNED_BYTES = 672;

const VERSIONS: readonly number[] = [2, 3, 4, 5];
/** From this version on the report names the processor. */
const CPUID_SINCE = 3;
/** From this version on the report has the mitigation vectors. */
const MITIGATIONS_SINCE = 5;

/** SIGNATURE_ALGO: ECDSA on P-384 with SHA-384 (AMD 56860, chapter on signature formats). */
export const ECDSA_P384_SHA384 = 1;

/** SIGNING_KEY of the key information: which key signed. The other values are reserved. */
export const SigningKey = { vcek: 0, vlek: 1, none: 7 } as const;

/** VMPL of a report that the host asked for. */
export const HOST_REQUESTED = 0xffffffff;

/** POLICY: what the guest's owner allows and demands. Set at launch by the host, part of what an ID block signs. */
const guestPolicy = openBitField(littleEndian, 8, {
  /** Least minor version of the firmware's interface. */
  abiMinor: [0, 7],
  /** Least major version of the firmware's interface. */
  abiMajor: [8, 15],
  /** Simultaneous multithreading may be on. */
  smtAllowed: 16,
  reserved17: 17,
  /** A migration agent may be associated with the guest. */
  migrateMa: 18,
  /** The host may read and write the guest's memory. */
  debug: 19,
  /** The guest runs on one socket only. */
  singleSocket: 20,
  /** CXL devices may hold memory of the guest. */
  cxlAllow: 21,
  /** Memory must be encrypted with AES-256-XTS. */
  memAes256Xts: 22,
  /** Power readings (RAPL) must be off. */
  raplDis: 23,
  /** The host must not see ciphertext of the guest's memory. */
  ciphertextHidingDram: 24,
  /** The host cannot swap pages of the guest. */
  pageSwapDisable: 25,
});
export type GuestPolicy = ValueOf<typeof guestPolicy>;

/** PLATFORM_INFO: how the host's firmware is configured. Bit 6 has no public name, and genuine parts set it. */
const platformInfo = openBitField(littleEndian, 8, {
  /** Simultaneous multithreading is on. */
  smtEn: 0,
  /** All memory of the host is encrypted (TSME). */
  tsmeEn: 1,
  /** Memory has error correction. */
  eccEn: 2,
  /** Power readings (RAPL) are off. */
  raplDis: 3,
  /** Ciphertext of guests is hidden from the host. */
  ciphertextHidingDramEn: 4,
  /** Since the last reset memory was checked for aliased addresses (CVE-2024-21944). */
  aliasCheckComplete: 5,
  /** Trusted I/O is on. */
  tioEn: 7,
});
export type PlatformInfo = ValueOf<typeof platformInfo>;

const keyInfo = bitField(littleEndian, 4, { authorKeyEn: 0, maskChipKey: 1, signingKey: [2, 4] });

const firmwareVersion = structure({ build: u8(), minor: u8(), major: u8() });
export type FirmwareVersion = ValueOf<typeof firmwareVersion>;

const cpuid = structure({ family: u8(), model: u8(), stepping: u8(), reserved: reserved(21) });
/** Combined family and model and the stepping, as CPUID leaf 1 of the host gives them. */
export type Cpuid = ValueOf<typeof cpuid>;

const mitigationVectors = structure({ launch: u64(), current: u64(), reserved: reserved(152) });

/** A member that stands there from some version on; before it the same bytes are reserved. */
function since<T>(version: number, present: Layout<T>, absentBytes: number): Layout<T | undefined> {
  return dependent<T | undefined>((members) =>
    Number(members['version']) >= version ? present : reserved(absentBytes),
  );
}

/** ECDSA signature: r and s in fields of 72 bytes, little-endian, of which P-384 uses 48. */
const signature = structure({
  r: fixedBytes(48),
  reserved0: reserved(24),
  s: fixedBytes(48),
  reserved1: reserved(24),
  reserved2: reserved(368),
});

const attestationReport = structure({
  version: u32({ oneOf: VERSIONS }),
  guestSvn: u32(),
  policy: guestPolicy,
  familyId: fixedBytes(16),
  imageId: fixedBytes(16),
  vmpl: u32(),
  signatureAlgo: u32(),
  currentTcb: fixedBytes(8),
  platformInfo,
  keyInfo,
  reserved0: reserved(4),
  reportData: fixedBytes(64),
  measurement: fixedBytes(48),
  hostData: fixedBytes(32),
  idKeyDigest: fixedBytes(48),
  authorKeyDigest: fixedBytes(48),
  reportId: fixedBytes(32),
  reportIdMa: fixedBytes(32),
  reportedTcb: fixedBytes(8),
  cpuid: since(CPUID_SINCE, cpuid, 24),
  chipId: fixedBytes(64),
  committedTcb: fixedBytes(8),
  currentVersion: firmwareVersion,
  reserved1: reserved(1),
  committedVersion: firmwareVersion,
  reserved2: reserved(1),
  launchTcb: fixedBytes(8),
  mitigations: since(MITIGATIONS_SINCE, mitigationVectors, 168),
  signature,
});

/**
 * A report as its bytes claim it. TCB versions are the raw 8 bytes: how they are read depends on the product (tcb.ts).
 * `cpuid` is undefined in version 2, `mitigations` before version 5.
 */
export type AttestationReport = ValueOf<typeof attestationReport>;

/** Reads a report. @throws RefusalError `snp-report-size`, `snp-report-version`, `layout-*` */
export function readReport(bytes: Uint8Array, path = 'report'): AttestationReport {
  if (bytes.length !== REPORT_BYTES) {
    throw reportRefusals.error('snp-report-size', {
      field: path,
      expected: `${REPORT_BYTES} bytes`,
      found: `${bytes.length} bytes`,
    });
  }
  const version = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  if (!VERSIONS.includes(version)) {
    throw reportRefusals.error('snp-report-version', {
      field: `${path}.version`,
      expected: VERSIONS.join(', '),
      found: String(version),
    });
  }
  return decode(attestationReport, bytes, path);
}

/** Writes the bytes that {@link readReport} reads. @throws RefusalError `layout-value` */
export function writeReport(report: AttestationReport): Uint8Array {
  return encode(attestationReport, report, 'report');
}
