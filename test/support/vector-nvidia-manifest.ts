/**
 * The manifest of vectors of NVIDIA GPUs and switches, schema 1. Its shapes are strict: a member, a kind, an operation or
 * a check that nobody here knows is refused, so that nothing that the manifest says goes unread.
 */

import { z } from 'zod';

import { OPERATION_NAMES, operationShape } from './vector-nvidia-operations.ts';

const text = z.string();
const jsonRecord = z.record(text, z.unknown());

/** A file by its path in the folder, with its length and digest as stored. */
const fileShape = z.strictObject({ path: text, bytes: z.number(), sha256: text, note: text.optional() });

const expectShape = z.strictObject({
  verdict: text,
  failing: z.array(text).default([]),
  per_device_failing: z.array(z.array(text)).optional(),
  why: text.optional(),
});

const certificateTimesShape = z.array(z.strictObject({ cn: text, not_before: text, not_after: text }));

/** Where the bytes come from, under which licence, and remarks: nothing that changes a verdict. */
const REMARKS = {
  source: z.array(jsonRecord).optional(),
  notes: z.array(text).optional(),
  synthetic: z.boolean().optional(),
  derived_from: z.unknown().optional(),
  licence_of_base: text.optional(),
};

const COMMON = {
  id: text,
  arch: text.optional(),
  ...REMARKS,
  parsed: jsonRecord.default({}),
  checks: z.record(text, z.union([z.boolean(), text])).default({}),
  expect: expectShape,
};

/** The nonce is in hexadecimal, the time as in RFC 3339. */
const evidenceContext = z.strictObject({ expected_nonce: text, verify_at: text });

function evidenceShape<const Kind extends string>(kind: Kind) {
  return z.strictObject({
    ...COMMON,
    kind: z.literal(kind),
    files: z.strictObject({ report: fileShape, chain: fileShape, sdk_json: fileShape.optional() }),
    context: evidenceContext,
    chain_validity: certificateTimesShape.optional(),
  });
}

const opaqueFormatShape = z.strictObject({
  ...COMMON,
  kind: z.literal('opaque-format'),
  files: z.strictObject({ report: fileShape }),
});

const deviceSetShape = z.strictObject({
  ...COMMON,
  kind: z.literal('device-set'),
  files: z.strictObject({ evidence: fileShape }),
  context: evidenceContext.extend({
    expected_counts: z.strictObject({ gpus: z.number(), switches: z.number() }),
  }),
});

const rimShape = z.strictObject({
  ...COMMON,
  kind: z.literal('rim'),
  files: z.strictObject({ rim: fileShape }),
  context: z.strictObject({ verify_at: text, expected_version: text }).optional(),
  chain_validity: certificateTimesShape.optional(),
});

const indices = z.array(z.number());
const measurementShape = z.strictObject({
  ...COMMON,
  kind: z.literal('measurement'),
  uses: z.strictObject({
    evidence: text,
    driver_rim: text.optional(),
    vbios_rim: text.optional(),
    bios_rim: text.optional(),
  }),
  result: z.strictObject({
    compared: indices,
    skipped: indices,
    conflict: indices,
    mismatched: indices,
    uncovered_nonzero: indices,
    mismatched_if_index_35_is_always_compared: indices,
  }),
});

const ocspShape = z.strictObject({
  ...COMMON,
  kind: z.literal('ocsp'),
  files: z.strictObject({ response: fileShape, certificate: fileShape, issuer_chain: fileShape }),
  context: z.strictObject({ for: text, verify_at: text }),
  confirmed: jsonRecord.optional(),
});

const nrasShape = z.strictObject({
  ...COMMON,
  kind: z.literal('nras-eat'),
  files: z.strictObject({ response: fileShape, jwks: fileShape.optional(), request: fileShape.optional() }),
  context: z
    .strictObject({
      verify_at: text,
      expected_nonce: text,
      expected_issuer: text,
      expected_devices: z.number(),
      pinned_intermediate_spki_sha256: text.nullable(),
    })
    .optional(),
  ueid_equals_leaf_serial_of_evidence_with_same_index: z.boolean().optional(),
});

const compositeShape = z.strictObject({
  ...COMMON,
  kind: z.literal('composite'),
  files: z.strictObject({ attestation: fileShape, quote: fileShape, gpu_json: fileShape }),
  context: z.strictObject({ expected_nonce: text, rule: text }),
});

const vectorShape = z.discriminatedUnion('kind', [
  evidenceShape('gpu-evidence'),
  evidenceShape('switch-evidence'),
  opaqueFormatShape,
  deviceSetShape,
  rimShape,
  measurementShape,
  ocspShape,
  nrasShape,
  compositeShape,
]);
export type NvidiaVector = z.infer<typeof vectorShape>;
export type VectorKind = NvidiaVector['kind'];
export type VectorOf<Kind extends VectorKind> = Extract<NvidiaVector, { kind: Kind }>;

const mutationShape = z.strictObject({
  id: text,
  base: text,
  ops: z.array(operationShape).min(1),
  expect: z.strictObject({
    verdict: z.enum(['reject', 'same as base', 'same as base or reject']),
    /** One of these is what must refuse the mutant. */
    must_fail: z.array(text),
    /** All checks that do not hold in it, those of `must_fail` among them. */
    all_failing: z.array(text),
    /** `false`: it cannot be read at all. */
    parse: z.literal(false).optional(),
  }),
  why: text.optional(),
  confirmed: z.literal(true),
});
export type NvidiaMutation = z.infer<typeof mutationShape>;

const rootShape = z.strictObject({
  file: text,
  cn: text,
  bytes: z.number(),
  sha256: text,
  certificate_sha256: text,
  spki_sha256: text,
  not_before: text,
  not_after: text,
});
export type RootEntry = z.infer<typeof rootShape>;

const manifestShape = z.strictObject({
  schema: z.literal(1),
  set: text,
  title: text,
  generated: text,
  counts: z.strictObject({ vectors: z.number(), mutations: z.number() }),
  provenance_notes: z.array(text).optional(),
  conventions: z.strictObject({
    paths: text,
    independence: text,
    verify_at: text,
    verdicts: z.record(text, text),
    checks: z.record(text, text),
    mutation_ops: z.record(
      text.refine((name) => OPERATION_NAMES.has(name)),
      text,
    ),
  }),
  roots: z.array(rootShape),
  vectors: z.array(vectorShape),
  mutations: z.array(mutationShape),
});
export type NvidiaManifest = z.infer<typeof manifestShape>;

/** @throws Error when it is not of this form, or has not the entries that it counts */
export function readNvidiaManifest(manifest: unknown): NvidiaManifest {
  const read = manifestShape.parse(manifest);
  const { counts, vectors, mutations } = read;
  const ids = new Set(vectors.map(({ id }) => id));
  if (counts.vectors !== vectors.length || counts.mutations !== mutations.length)
    throw new Error(`counts ${JSON.stringify(counts)} differ from the entries`);
  if (ids.size !== vectors.length) throw new Error('two vectors have one id');
  const stray = mutations.find(({ base }) => !ids.has(base));
  if (stray !== undefined) throw new Error(`${stray.id} has no vector ${stray.base}`);
  return read;
}
