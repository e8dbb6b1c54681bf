/**
 * Authenticity of a report: that a key of AMD's hierarchy signed exactly these bytes, and that its certificate speaks
 * of the chip and the firmware that the report names.
 */

import { p384 } from '@noble/curves/nist.js';

import { concatBytes, equalBytes, fromHex, isZero, toHex } from '../core/bytes.ts';
import { oncePer } from '../core/certificate-memory.ts';
import { readSubjectPublicKeyInfo } from '../core/public-key.ts';
import { verifySignature } from '../core/signature.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { Certificate } from '../core/x509.ts';
import { verifyChain } from './chain.ts';
import type { AuthenticChain, ChainInputs } from './chain.ts';
import { chipIdentity, chipIdOf, guestIdentity } from './identity.ts';
import type { KeyFacts, KeyKind, VcekFacts } from './key-certificate.ts';
import { ECDSA_P384_SHA384, SIGNED_BYTES, SigningKey } from './layout.ts';
import type { AttestationReport } from './layout.ts';
import { productLineOf } from './product.ts';
import { judgeRevocation } from './revocation.ts';
import type { RevocationStatus } from './revocation.ts';
import { componentsBelow, readTcb, tcbText } from './tcb.ts';
import type { Tcb } from './tcb.ts';

export const reportChecks = defineChecks('inauthentic', {
  'snp-signature-algorithm': {
    means: 'The report is not signed with ECDSA on P-384 and SHA-384.',
    hint: 'No other algorithm is defined for SEV-SNP; the report was altered, or is of a version to come.',
    protects: 'A weaker algorithm could be put in the place of the one that is verified.',
  },
  'snp-signing-key': {
    means: 'The report is not signed, or by a key of a kind that is not known.',
    hint: 'Have the host load a VLEK or leave the VCEK in use; a report without a signature proves nothing.',
    protects: 'Anybody could write an unsigned report.',
  },
  'snp-chip-key-masked': {
    means: 'The host has switched off the chip’s signing key.',
    hint: 'Have the host clear MASK_CHIP_KEY: with it the firmware signs nothing.',
    protects: 'A report that was never signed could be taken for one that was.',
  },
  'snp-signature-range': {
    means: 'r or s of the signature is not a number from 1 to the order of P-384.',
    hint: 'The signature was altered, or is the empty one of an unsigned report.',
    protects: 'Degenerate signatures could verify under some libraries.',
  },
  'snp-signature': {
    means: 'The report is not signed by the certified key.',
    hint: 'Send the certificate of the chip that made the report, at the TCB that the report names.',
    protects: 'Every other value of the report could be invented.',
  },
  'snp-tcb-certificate': {
    means: 'The report names another TCB than the one whose key signed it.',
    hint: 'Fetch the certificate for REPORTED_TCB; it changes with every update of the firmware.',
    protects: 'The key of old, broken firmware could sign reports that claim newer one.',
  },
  'snp-chip-id': {
    means: 'The report names another chip than the certificate.',
    hint: 'Send the certificate of the chip that made the report.',
    protects: 'Lists of accepted or denied chips could be passed by.',
  },
  'snp-report-data': {
    means: 'The report was made for another purpose than this request.',
    hint: 'Ask for a report over the REPORT_DATA of this challenge; each challenge is good for one attempt.',
    protects: 'A report of the past, or of an honest guest for another key, could be sent along.',
  },
});

/** A report that a certified key signed, with what its certificate proves. */
export interface AuthenticReport {
  readonly report: AttestationReport;
  readonly chain: AuthenticChain;
  readonly revocation: RevocationStatus | undefined;
  readonly tcb: TcbVersions;
  /** Whether the report hides its chip; the certificate may name it all the same. */
  readonly isChipMasked: boolean;
  /** 32 bytes that name the machine; see identity.ts. */
  readonly identity: Uint8Array;
}

/**
 * The four TCBs of a report. Only `reported` is proved, by the key; the others are what firmware of that level says.
 */
export interface TcbVersions {
  readonly reported: Tcb;
  readonly committed: Tcb;
  readonly launch: Tcb;
  readonly current: Tcb;
}

/**
 * Authenticates a report.
 *
 * @param bytes of the whole report
 * @throws RefusalError `snp-*`, `path-*`, `crl-*`, and what reading certificates throws
 */
export async function authenticateReport(
  bytes: Uint8Array,
  report: AttestationReport,
  inputs: ChainInputs,
  checks: Checklist,
): Promise<AuthenticReport> {
  const kind = demandSigned(report, checks);
  const line = report.cpuid && productLineOf(report.cpuid, 'report.cpuid');
  const chain = await verifyChain(kind, line, report, inputs, checks);
  const revocation = await judgeRevocation(chain, inputs, checks);
  await demandSignature(bytes, report, chain.key, checks);
  const tcb = readTcbs(report, chain.key);
  demandTcb(tcb.reported, chain.key, checks);
  const isChipMasked = isZero(report.chipId);
  demandChip(report.chipId, chain.key, checks);
  return { report, chain, revocation, tcb, isChipMasked, identity: identityOf(report, chain.key) };
}

function demandSigned({ signatureAlgo, keyInfo }: AttestationReport, checks: Checklist): KeyKind {
  checks.demand(reportChecks, 'snp-signature-algorithm', signatureAlgo === ECDSA_P384_SHA384, {
    field: 'report.signatureAlgo',
    expected: String(ECDSA_P384_SHA384),
    found: String(signatureAlgo),
  });
  const { signingKey, maskChipKey } = keyInfo;
  const kind = signingKey === SigningKey.vcek ? 'vcek' : signingKey === SigningKey.vlek ? 'vlek' : undefined;
  checks.demand(reportChecks, 'snp-signing-key', kind !== undefined, {
    field: 'report.keyInfo.signingKey',
    expected: '0 (VCEK) or 1 (VLEK)',
    found: String(signingKey),
  });
  checks.demand(reportChecks, 'snp-chip-key-masked', !maskChipKey, {
    field: 'report.keyInfo.maskChipKey',
    expected: 'false',
    found: String(maskChipKey),
  });
  return kind;
}

async function demandSignature(
  bytes: Uint8Array,
  { signature }: AttestationReport,
  key: KeyFacts,
  checks: Checklist,
): Promise<void> {
  const [r, s] = [signature.r.toReversed(), signature.s.toReversed()];
  checks.demand(reportChecks, 'snp-signature-range', isScalar(r) && isScalar(s), {
    field: 'report.signature',
    expected: 'r and s from 1 to the order of P-384',
    found: `r ${toHex(r.subarray(0, 8))}…, s ${toHex(s.subarray(0, 8))}…`,
  });
  const scheme = { algorithm: 'ecdsa', hash: 'SHA-384' } as const;
  const signed = bytes.subarray(0, SIGNED_BYTES);
  const holds = await verifySignature(publicKeyOf(key.certificate), scheme, concatBytes(r, s), signed);
  checks.demand(reportChecks, 'snp-signature', holds, {
    field: 'report.signature',
    expected: `a signature by the certified ${key.kind}`,
    found: holds ? 'one' : 'one that does not verify',
  });
}

const publicKeyOf = oncePer(({ subjectPublicKeyInfo }: Certificate) =>
  readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'certificate.publicKey'),
);

const ORDER = fromHex(p384.Point.Fn.ORDER.toString(16), 'order');

/** @param bigEndian as many bytes as the order has */
function isScalar(bigEndian: Uint8Array): boolean {
  return !isZero(bigEndian) && isBelow(bigEndian, ORDER);
}

/** Compares big-endian numbers of one length. */
function isBelow(left: Uint8Array, right: Uint8Array): boolean {
  const first = left.findIndex((byte, i) => byte !== right[i]);
  return first >= 0 && (left[first] ?? 0) < (right[first] ?? 0);
}

/** The encoding is that of the certificate, which chain.ts compared with the processor. */
function readTcbs(report: AttestationReport, { encoding }: KeyFacts): TcbVersions {
  return {
    reported: readTcb(encoding, report.reportedTcb, 'report.reportedTcb'),
    committed: readTcb(encoding, report.committedTcb, 'report.committedTcb'),
    launch: readTcb(encoding, report.launchTcb, 'report.launchTcb'),
    current: readTcb(encoding, report.currentTcb, 'report.currentTcb'),
  };
}

function demandTcb(reported: Tcb, { tcb }: KeyFacts, checks: Checklist): void {
  const isEqual = componentsBelow(reported, tcb).length === 0 && componentsBelow(tcb, reported).length === 0;
  checks.demand(reportChecks, 'snp-tcb-certificate', isEqual, {
    field: 'report.reportedTcb',
    expected: tcbText(tcb),
    found: tcbText(reported),
  });
}

/**
 * A report names its chip, hides it (all zeros), or has none because a provider's key signed. All 64 bytes are compared:
 * those behind an identifier of 8 bytes are zero.
 */
function demandChip(chipId: Uint8Array, key: KeyFacts, checks: Checklist): void {
  const expected = key.kind === 'vcek' ? chipOf(key).chipId : new Uint8Array(chipId.length);
  checks.demand(reportChecks, 'snp-chip-id', isZero(chipId) || equalBytes(chipId, expected), {
    field: 'report.chipId',
    expected: `${toHex(expected)} or zeros`,
    found: toHex(chipId),
  });
}

const chipOf = oncePer(({ hardwareId }: VcekFacts) => {
  const chipId = chipIdOf(hardwareId);
  return { chipId, identity: chipIdentity(chipId) };
});

function identityOf({ reportId }: AttestationReport, key: KeyFacts): Uint8Array {
  return key.kind === 'vcek' ? chipOf(key).identity : guestIdentity(key.cspId, reportId);
}

/** Records whether the report was made for this request. @throws RefusalError `snp-report-data` */
export function demandReportData(
  { reportData }: AttestationReport,
  expected: Uint8Array,
  checks: Checklist,
): void {
  checks.demand(reportChecks, 'snp-report-data', equalBytes(reportData, expected), {
    field: 'report.reportData',
    expected: toHex(expected),
    found: toHex(reportData),
  });
}
