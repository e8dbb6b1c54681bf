/** Vectors of the kind `azure-hcl`, and the reports of Azure's paravisor beside quotes. */

import { sha256 } from '@noble/hashes/sha2.js';
import { z } from 'zod';

import { equalBytes, fromBase64, fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { joinEcdsaSignature, verifySignature } from '../../attestation/core/signature.ts';
import { readSubjectPublicKeyInfo } from '../../attestation/core/public-key.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { readHclReport } from '../../attestation/sev-snp/azure/layout.ts';
import type { HclReport } from '../../attestation/sev-snp/azure/layout.ts';
import { readRuntimeClaims } from '../../attestation/sev-snp/azure/runtime-claims.ts';
import { readReport, SIGNED_BYTES } from '../../attestation/sev-snp/layout.ts';
import { expectedOf, fileOf, hasFile, hexShape, refusalsOf, Unjudged } from './vector-tpm-case.ts';
import type { KindJudge, Members, TpmCase } from './vector-tpm-case.ts';

const runtimeShape = z.looseObject({
  keys: z.array(
    z.looseObject({ kid: z.string(), key_ops: z.array(z.string()), kty: z.string(), n: z.string() }),
  ),
  'vm-configuration': z.record(z.string(), z.unknown()),
  'user-data': z.string().optional(),
});
type Runtime = z.infer<typeof runtimeShape>;

const CLAIMS_BEGIN = '{"keys"';

/** The claims of a report of any hardware: a quote can be verified beside a report that is not read here. */
function runtimeOf(report: Uint8Array): Runtime {
  const text = new TextDecoder('latin1').decode(report);
  const claims = text.slice(text.indexOf(CLAIMS_BEGIN), text.lastIndexOf('}') + 1);
  return runtimeShape.parse(JSON.parse(claims));
}

/** Modulus of the key that the claims call the attestation key. */
export function runtimeKeyOf(report: Uint8Array): Uint8Array {
  const key = runtimeOf(report).keys.find(({ kid }) => kid === 'HCLAkPub');
  const digits = (key?.n ?? '').replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(digits.padEnd(Math.ceil(digits.length / 4) * 4, '='), 'HCLAkPub');
}

/** Undefined for hardware of another kind, which is refused. @throws other refusals of the report */
function knownReport(bytes: Uint8Array): HclReport | undefined {
  try {
    return readHclReport(bytes);
  } catch (error) {
    if (isRefusal(error) && error.refusal.code === 'azure-hcl-hardware') return undefined;
    throw error;
  }
}

const OTHER_HARDWARE = 'hardware other than SEV-SNP is refused in this form (azure-hcl-hardware)';

const nonceShape = z.looseObject({ attest: z.looseObject({ extraData: hexShape }) });

export async function azureMembers(subject: TpmCase): Promise<Members> {
  const bytes = fileOf(subject, 'hclReport');
  const report = knownReport(bytes);
  const { attest } = expectedOf(subject, nonceShape);
  const userData = (runtimeOf(bytes)['user-data'] ?? '').toLowerCase();
  const nonce = toHex(attest.extraData);
  return {
    hcl: report === undefined ? new Unjudged(OTHER_HARDWARE) : hclMembers(report),
    tdQuote: hasFile(subject, 'tdQuote') ? new Unjudged(OTHER_HARDWARE) : null,
    snpReportSignedByVcek:
      report === undefined ? null : await isSignedByVcek(report, fileOf(subject, 'vcek')),
    akFrom: 'HCLAkPub JWK in the HCL runtime data',
    userDataStartsWithExtraData: nonce !== '' && userData.startsWith(nonce),
  };
}

function hclMembers(report: HclReport): Members {
  readRuntimeClaims(report.claims);
  const { keys, ...runtime } = runtimeShape.parse(JSON.parse(fromUtf8(report.claims, 'claims')));
  return {
    magic: 'HCLA',
    version: report.version,
    reportSize: report.reportSize,
    requestType: report.requestType,
    status: report.status,
    runtimeData: {
      dataSize: report.dataSize,
      version: report.dataVersion,
      reportType: report.reportType,
      hashType: report.claimsHash,
      variableDataSize: report.claimsSize,
    },
    hwReport: 'snp',
    reportData: toHex(readReport(report.hardwareReport).reportData),
    runtimeDataHash: toHex(sha256(report.claims)),
    reportDataStartsWithRuntimeDataHash: isBound(report),
    keys: keys.map(({ kid, key_ops, kty }) => ({ kid, key_ops, kty })),
    vmConfiguration: runtime['vm-configuration'],
    userData: runtime['user-data'] ?? null,
  };
}

/** Whether the hardware vouches for the claims. */
function isBound({ hardwareReport, claims }: HclReport): boolean {
  return equalBytes(readReport(hardwareReport).reportData.subarray(0, 32), sha256(claims));
}

async function isSignedByVcek({ hardwareReport }: HclReport, vcek: Uint8Array): Promise<boolean> {
  const { subjectPublicKeyInfo } = readCertificate(vcek, 'vcek');
  const key = readSubjectPublicKeyInfo(subjectPublicKeyInfo, 'vcek');
  const { r, s } = readReport(hardwareReport).signature;
  const joined = joinEcdsaSignature('P-384', r.toReversed(), s.toReversed());
  const scheme = { algorithm: 'ecdsa', hash: 'SHA-384' } as const;
  return verifySignature(key, scheme, joined, hardwareReport.subarray(0, SIGNED_BYTES));
}

const FLIP = /^flipping one bit of the runtime-data JSON \(offset (\d+)\) breaks the report_data binding$/;

function flippedIsUnbound(bytes: Uint8Array, words: string): boolean {
  const offset = Number(FLIP.exec(words)?.[1]);
  const changed = bytes.map((byte, i) => (i === offset ? byte ^ 1 : byte));
  return !equalBytes(changed, bytes) && !isBound(readHclReport(changed));
}

export const azureReportJudge: KindJudge = {
  outcomes: async (subject) => {
    const read = (): void => {
      const report = readHclReport(fileOf(subject, 'hclReport'));
      readRuntimeClaims(report.claims);
      if (!isBound(report)) throw new Error('a report whose claims are not bound to it');
    };
    return [{ label: '', codes: await refusalsOf(read) }];
  },
  members: (subject) => {
    const bytes = fileOf(subject, 'hclReport');
    const words = String(subject.vector.expected['negative']);
    const negative = flippedIsUnbound(bytes, words) ? words : 'still bound, or of no rule';
    return Promise.resolve({ ...hclMembers(readHclReport(bytes)), negative });
  },
};
