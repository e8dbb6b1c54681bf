/** What a source has for one report, under the names by which the verifier looks it up. */

import { isRefusal, type Refusal } from '../../../attestation/core/refusal.ts';
import { collateralNames } from '../../../attestation/sev-snp/chain.ts';
import { isZero } from '../../../attestation/core/bytes.ts';
import type { SevSnpEvidence } from '../../../attestation/sev-snp/evidence.ts';
import { readKeyCertificate } from '../../../attestation/sev-snp/key-certificate.ts';
import { SigningKey } from '../../../attestation/sev-snp/layout.ts';
import { productLineOf, type ProductLine } from '../../../attestation/sev-snp/product.ts';
import { readTcb, tcbEncodingOf } from '../../../attestation/sev-snp/tcb.ts';
import { splitCertificates } from './certificates.ts';
import type { CollateralItem, CollateralSource, Signer } from './source.ts';

export interface GatheredCollateral {
  /** For `DeviceInputs.collateral` of the class `sev-snp`. */
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** Why a source could not say what it has. Verification then refuses for what is missing, not for the reason. */
  readonly failures: readonly Refusal[];
}

export type ClaimedReport = Pick<SevSnpEvidence, 'report' | 'certificates'>;

/**
 * Asks for the certificates that did not come with the evidence and for the revocation list. Nothing of the evidence
 * is verified yet: it decides no more than which of the fixed questions are asked.
 */
export async function gatherSevSnpCollateral(
  source: CollateralSource,
  claimed: ClaimedReport,
): Promise<GatheredCollateral> {
  const collateral = new Map<string, Uint8Array>();
  const failures: Refusal[] = [];
  for (const { item, enter } of claimedQuestions(claimed)) {
    try {
      const bytes = await source.find(item);
      if (bytes !== undefined) for (const [name, content] of enter(bytes)) collateral.set(name, content);
    } catch (error) {
      if (!isRefusal(error)) throw error;
      failures.push(error.refusal);
    }
  }
  return { collateral, failures };
}

/** What {@link gatherSevSnpCollateral} asks for, in its order. */
export function sevSnpItems(claimed: ClaimedReport): readonly CollateralItem[] {
  return claimedQuestions(claimed).map(({ item }) => item);
}

interface Question {
  readonly item: CollateralItem;
  /** Names of what the answer holds. */
  readonly enter: (bytes: Uint8Array) => readonly (readonly [name: string, content: Uint8Array])[];
}

/** None where the evidence contradicts itself, or names a product that is not known: verification says so. */
function claimedQuestions(claimed: ClaimedReport): readonly Question[] {
  try {
    return questionsFor(claimed);
  } catch (error) {
    if (isRefusal(error)) return [];
    throw error;
  }
}

function questionsFor({ report, certificates }: ClaimedReport): readonly Question[] {
  const line = claimedLine({ report, certificates });
  if (line === undefined) return [];
  const signer: Signer = report.keyInfo.signingKey === SigningKey.vlek ? 'vlek' : 'vcek';
  const questions: Question[] = [];
  if (signer === 'vcek' && certificates.vcek === undefined && !isZero(report.chipId)) {
    const tcb = readTcb(tcbEncodingOf(line), report.reportedTcb, 'report.reportedTcb');
    const item: CollateralItem = { kind: 'vcek', line, chipId: report.chipId, tcb };
    questions.push({ item, enter: (bytes) => [[collateralNames.vcek(report), bytes]] });
  }
  if (certificates.intermediate === undefined || certificates.ark === undefined) {
    questions.push({
      item: { kind: 'chain', line, signer },
      enter: (bytes) => chainEntries(bytes, line, signer),
    });
  }
  const enter = (bytes: Uint8Array): Entries => [[collateralNames.revocationList(line), bytes]];
  questions.push({ item: { kind: 'crl', line, signer }, enter });
  return questions;
}

type Entries = ReturnType<Question['enter']>;

function chainEntries(bytes: Uint8Array, line: ProductLine, signer: Signer): Entries {
  const names = [collateralNames.intermediate(line, signer), collateralNames.ark(line)];
  return splitCertificates(bytes, 'chain').map((certificate, i) => [names[i] ?? `chain/${i}`, certificate]);
}

/** A report of version 2 names no processor: there only the certificate can say. */
function claimedLine({ report, certificates }: ClaimedReport): ProductLine | undefined {
  if (report.cpuid !== undefined) return productLineOf(report.cpuid, 'report.cpuid');
  const certificate = certificates.vcek ?? certificates.vlek;
  return certificate && readKeyCertificate(certificate, 'certificate').line;
}
