/** Approvals of machine states: the files that the signer makes away from the machine (docs/spec/key-custody.md KC-44). */

import { z } from 'zod';

import { fromBase64, fromHex, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { verifySignature } from '../../../attestation/core/signature.ts';
import { publicKeyOf } from '../../../attestation/tpm/attestation-key.ts';
import { Algorithm, type PublicArea, type Signature } from '../../../attestation/tpm/layout.ts';
import { approvalMessage } from '../../../attestation/tpm/policy-digest.ts';
import { PCR_COUNT } from '../../../attestation/tpm/pcr-selection.ts';
import { digestField, modeField, originField } from '../../governance/fields.ts';
import { readShape } from '../../platform/shape.ts';
import {
  approvedPolicy,
  type ApprovedPcrs,
  type CustodyIdentity,
  POLICY_HASH,
  policyReference,
} from './policy.ts';
import {
  tpmCustodyIntegrityRefusals,
  tpmCustodyPolicyRefusals,
  tpmCustodyUsageRefusals,
} from './refusals.ts';

export const MAX_APPROVAL_BYTES = 8 * 1024;

const approvalSchema = z.strictObject({
  version: z.literal(1),
  type: z.literal('weightgate-tpm-approval'),
  custody: digestField,
  origin: originField,
  mode: modeField,
  counterIndex: z.int().min(0x01000000).max(0x01ffffff),
  approvalVersion: z.int().nonnegative(),
  pcrs: z
    .array(
      z.strictObject({
        pcr: z
          .int()
          .min(0)
          .max(PCR_COUNT - 1),
        value: digestField,
      }),
    )
    .min(1)
    .max(PCR_COUNT)
    .refine(isAscending, 'PCRs in ascending order, each once'),
  signature: z.base64().min(4).max(1024),
});
type ApprovalDocument = z.infer<typeof approvalSchema>;

function isAscending(pcrs: readonly { readonly pcr: number }[]): boolean {
  return pcrs.every(({ pcr }, i) => i === 0 || pcr > (pcrs[i - 1]?.pcr ?? PCR_COUNT));
}

/** What the signer decides. */
export interface ApprovalTerms {
  readonly pcrs: ApprovedPcrs;
  readonly counterIndex: number;
  /** Good while the counter of the TPM is not above it. */
  readonly approvalVersion: number;
}

/** An approval whose signature was verified. */
export interface Approval extends ApprovalTerms {
  readonly approvedPolicy: Uint8Array;
  readonly reference: Uint8Array;
  readonly signature: Signature;
}

/** Of which custody, who may approve, and what every approval has to cover. */
export interface ApprovalRules {
  readonly identity: CustodyIdentity;
  readonly signer: PublicArea;
  readonly counterIndex: number;
  /** The PCR by which the custody is closed after opening; null where it is not. */
  readonly closingPcr: number | null;
}

/** The bytes that the signer signs, by ECDSA or RSASSA-PKCS1-v1_5, with SHA-256. */
export function approvalToSign(identity: CustodyIdentity, terms: ApprovalTerms): Uint8Array {
  const { pcrs, counterIndex, approvalVersion } = terms;
  return approvalMessage(approvedPolicy(pcrs, counterIndex, approvalVersion), policyReference(identity));
}

/** The file. @param signature ECDSA: r and s, each as wide as the curve's field; RSA: as long as the modulus */
export function encodeApproval(
  { custody, origin, mode }: CustodyIdentity,
  { pcrs, counterIndex, approvalVersion }: ApprovalTerms,
  signature: Uint8Array,
): Uint8Array {
  const document: ApprovalDocument = {
    version: 1,
    type: 'weightgate-tpm-approval',
    custody,
    origin,
    mode,
    counterIndex,
    approvalVersion,
    pcrs: pcrs.map(({ pcr, value }) => ({ pcr, value: toHex(value) })),
    signature: toBase64(signature),
  };
  return encodeCanonicalJson(document);
}

/**
 * Reads an approval and verifies that the signer of the custody made it for this custody.
 *
 * @param field where it comes from, for refusals
 * @throws RefusalError `custody-approval-*`, `json-*`, `shape-mismatch`, `base64-malformed`, `signature-*`
 */
export async function readApproval(
  bytes: Uint8Array,
  rules: ApprovalRules,
  field: string,
): Promise<Approval> {
  const parsed = decodeCanonicalJson(bytes, { maxBytes: MAX_APPROVAL_BYTES }, field);
  const document = readShape(approvalSchema, parsed, field);
  requireSameCustody(document, rules, field);
  requireClosing(document, rules, field);
  const terms = {
    pcrs: document.pcrs.map(({ pcr, value }) => ({ pcr, value: fromHex(value, `${field}.pcrs`) })),
    counterIndex: document.counterIndex,
    approvalVersion: document.approvalVersion,
  };
  const raw = fromBase64(document.signature, `${field}.signature`);
  await requireSignature(raw, rules, approvalToSign(rules.identity, terms), field);
  return {
    ...terms,
    approvedPolicy: approvedPolicy(terms.pcrs, terms.counterIndex, terms.approvalVersion),
    reference: policyReference(rules.identity),
    signature: toTpmSignature(raw, rules.signer),
  };
}

function requireSameCustody(document: ApprovalDocument, rules: ApprovalRules, field: string): void {
  const { identity, counterIndex } = rules;
  const isSame =
    document.custody === identity.custody &&
    document.origin === identity.origin &&
    document.mode === identity.mode &&
    document.counterIndex === counterIndex;
  if (isSame) return;
  throw tpmCustodyUsageRefusals.error('custody-approval-other', {
    field,
    expected: `custody ${identity.custody} of ${identity.origin}, ${identity.mode} (KC-44)`,
    found: `custody ${document.custody} of ${document.origin}, ${document.mode}`,
  });
}

function requireClosing({ pcrs }: ApprovalDocument, { closingPcr }: ApprovalRules, field: string): void {
  if (closingPcr === null) return;
  const initial = '00'.repeat(POLICY_HASH.bytes);
  const found = pcrs.find(({ pcr }) => pcr === closingPcr)?.value;
  if (found === initial) return;
  throw tpmCustodyPolicyRefusals.error('custody-approval-closing', {
    field,
    expected: `PCR ${closingPcr} as it is after a start, ${initial} (KC-48)`,
    found: found ?? 'no such PCR',
  });
}

async function requireSignature(
  signature: Uint8Array,
  { signer }: ApprovalRules,
  message: Uint8Array,
  field: string,
): Promise<void> {
  const holds = await verifySignature(signerKey(signer), approvalScheme(signer), signature, message);
  if (holds) return;
  throw tpmCustodyIntegrityRefusals.error('custody-approval-signature', {
    field,
    expected: 'a signature of the key that approves for this custody (KC-44)',
    found: 'one that does not verify',
  });
}

/** The public key of who approves. @throws RefusalError `custody-approval-key`, `public-key-*` */
export function signerKey(signer: PublicArea): ReturnType<typeof publicKeyOf> {
  if (signer.type !== Algorithm.keyedHash) return publicKeyOf(signer);
  throw tpmCustodyUsageRefusals.error('custody-approval-key', {
    field: 'signer',
    expected: 'an RSA or ECC key',
    found: 'a keyed hash',
  });
}

function approvalScheme(signer: PublicArea) {
  const algorithm = signer.type === Algorithm.rsa ? 'rsassa-pkcs1' : 'ecdsa';
  return { algorithm, hash: POLICY_HASH.name } as const;
}

function toTpmSignature(raw: Uint8Array, signer: PublicArea): Signature {
  const hash = POLICY_HASH.algorithm as typeof Algorithm.sha256;
  if (signer.type === Algorithm.rsa) return { algorithm: Algorithm.rsassa, hash, signature: raw };
  const half = raw.length / 2;
  return { algorithm: Algorithm.ecdsa, hash, r: raw.subarray(0, half), s: raw.subarray(half) };
}
