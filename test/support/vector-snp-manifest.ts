/** The manifest of vectors of SEV-SNP, format `snp-vectors/1`. */

import { z } from 'zod';

const jsonRecord = z.record(z.string(), z.unknown());

const vectorShape = z.object({
  id: z.string(),
  product: z.string(),
  report_version: z.number(),
  files: z
    .object({
      report: z.string(),
      endorsement_cert: z.string(),
      intermediate: z.string(),
      root: z.string(),
      auxblob: z.string(),
      measurement_inputs: z.string(),
      hcl_report: z.string(),
      tpm_quote_message: z.string(),
      tpm_quote_signature: z.string(),
    })
    .partial()
    .required({ report: true, endorsement_cert: true, intermediate: true, root: true }),
  sha256: z.record(z.string(), z.string()),
  expected: z.looseObject({
    report: jsonRecord,
    endorsement_cert: jsonRecord,
    verdict: z.object({
      report_signature_valid: z.boolean(),
      chain_signatures_valid: z.boolean(),
      cert_tcb_equals_reported_tcb: z.boolean(),
      chip_id_vs_hwid: z.string(),
      product_line_from_issuer: z.string(),
      product_line_from_cpuid: z.string().nullable(),
      cert_valid_interval: z.tuple([z.string(), z.string()]),
      observations: z.array(z.string()),
    }),
  }),
});
/** One report with its certificates, and what must come out. */
export type SnpVector = z.infer<typeof vectorShape>;

const certificateShape = z.object({
  subject_cn: z.string(),
  issuer_cn: z.string(),
  serial: z.string(),
  not_before: z.string(),
  not_after: z.string(),
  sha256: z.string(),
  spki_sha256: z.string(),
});

const listShape = z.object({
  issuer_cn: z.string(),
  this_update: z.string(),
  next_update: z.string(),
  crl_number: z.number(),
  revoked: z.array(z.object({ serial: z.string(), date: z.string() })),
  signature_valid_under_ark: z.boolean(),
  sha256: z.string(),
});

const mutationShape = z.object({ id: z.string(), base: z.string(), edit: z.string(), expect: z.string() });
/** A change to one vector or to each, told in words. */
export type SnpMutation = z.infer<typeof mutationShape>;

const manifestShape = z.object({
  format: z.literal('snp-vectors/1'),
  vectors: z.array(vectorShape),
  certificates: z.record(z.string(), certificateShape),
  crls: z.record(z.string(), listShape),
  mutations: z.array(mutationShape),
});
export type SnpManifest = z.infer<typeof manifestShape>;

/** @throws Error when it is not of this format */
export function readSnpManifest(manifest: unknown): SnpManifest {
  return manifestShape.parse(manifest);
}
