/**
 * Reading the inference policy. Its digest is bound into the release of the weights' key (docs/spec/guard.md), so every
 * policy has exactly one meaning and one digest: the subset of YAML that is read has no second spelling of a value.
 */

import { z } from 'zod';
import { excerpt, fromUtf8 } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { parsePlainYaml } from '../platform/plain-yaml.ts';
import { readShape } from '../platform/shape.ts';
import { foldWhole, foldAppearance } from './fold.ts';

export const policyRefusals = defineRefusals('malformed', {
  'guard-policy-yaml': {
    means: 'An inference policy is not YAML of the subset that has one meaning.',
    hint: 'Write plain YAML: one document, no anchors, aliases, tags or directives, no member twice.',
  },
  'guard-policy-contradiction': {
    means: 'Parts of an inference policy do not fit together.',
    hint: 'Correct the named member; docs/spec/guard.md says what must hold between them.',
  },
});

const MAX_POLICY_BYTES = 4 * 1024 * 1024;

/** The categories that every policy must hold in tier 0, whoever wrote it. */
export const TIER_ZERO_CATEGORIES = [
  'cbrn',
  'cyber-weapons',
  'zero-day-exploitation',
  'autonomous-replication',
  'influence-at-scale',
  'child-abuse',
  'weight-exfiltration',
  'safeguard-subversion',
] as const;

const id = z
  .string()
  .max(64)
  .regex(/^[a-z0-9]+(-[a-z0-9]+)*$/);
const count = (minimum: number, maximum: number): z.ZodNumber => z.int().min(minimum).max(maximum);
const list = <T extends z.ZodType>(item: T, minimum: number, maximum: number): z.ZodArray<T> =>
  z.array(item).min(minimum).max(maximum);

const categorySchema = z.strictObject({
  id,
  tier: z.union([z.literal(0), z.literal(1), z.literal(2)]),
  title: z.string().min(1).max(200),
});

const ruleSchema = z.strictObject({
  id,
  category: id,
  surfaces: list(z.enum(['input', 'output', 'exchange']), 1, 3),
  withinCharacters: count(1, 4096),
  groups: list(list(z.string().min(2).max(64), 1, 1024), 1, 8),
});

const policySchema = z.strictObject({
  version: z.literal(1),
  epoch: count(1, Number.MAX_SAFE_INTEGER),
  taxonomy: list(categorySchema, TIER_ZERO_CATEGORIES.length, 64),
  rules: list(ruleSchema, 1, 4096),
  messages: z.strictObject({ refusal: z.string().min(1).max(500) }),
  streaming: z.strictObject({ holdBackCharacters: count(1, 8192), stepCharacters: count(2, 1024) }),
  limits: z.strictObject({
    promptBytes: count(1, 16 * 1024 * 1024),
    messages: count(1, 4096),
    completionTokens: count(1, 1024 * 1024),
    stopSequences: count(0, 16),
    judgementMilliseconds: count(1, 60_000),
  }),
  sampling: z.strictObject({ maximumTemperaturePercent: count(0, 200) }),
  errors: z.strictObject({ guardFailure: z.literal('block'), guardTimeout: z.literal('block') }),
});

/** The members of a policy file; their meaning stands in docs/spec/guard.md. */
export type PolicyDocument = z.infer<typeof policySchema>;
type PolicyRule = PolicyDocument['rules'][number];
export type Surface = PolicyRule['surfaces'][number];
export type Tier = PolicyDocument['taxonomy'][number]['tier'];

/** A policy that was read and found whole. */
export interface InferencePolicy {
  readonly document: PolicyDocument;
  /** The canonical JSON of the document: what is hashed, and what `GET /policy` answers. */
  readonly canonical: Uint8Array<ArrayBuffer>;
  /** SHA-256 of `canonical`. */
  readonly digest: Uint8Array;
}

/**
 * Reads a policy file.
 *
 * @throws RefusalError `guard-policy-*`, `shape-mismatch`, `utf8-malformed`
 */
export async function readInferencePolicy(yaml: Uint8Array): Promise<InferencePolicy> {
  const document = readShape(policySchema, readYaml(yaml), 'policy');
  checkTaxonomy(document);
  document.rules.forEach((rule, i) => {
    checkRule(document, rule, `policy.rules[${i}]`);
  });
  const canonical = encodeCanonicalJson(document);
  return { document, canonical, digest: new Uint8Array(await crypto.subtle.digest('SHA-256', canonical)) };
}

function readYaml(bytes: Uint8Array): unknown {
  if (bytes.length > MAX_POLICY_BYTES) {
    refuseYaml('policy', `at most ${MAX_POLICY_BYTES} bytes`, `${bytes.length} bytes`);
  }
  return parsePlainYaml(fromUtf8(bytes, 'policy'), (expected, found) =>
    refuseYaml('policy', expected, found),
  );
}

function refuseYaml(field: string, expected: string, found: string): never {
  throw policyRefusals.error('guard-policy-yaml', { field, expected, found });
}

function refuseContradiction(field: string, expected: string, found: string): never {
  throw policyRefusals.error('guard-policy-contradiction', { field, expected, found });
}

function checkTaxonomy(document: PolicyDocument): void {
  const tiers = new Map(document.taxonomy.map((category) => [category.id, category.tier]));
  for (const name of TIER_ZERO_CATEGORIES) {
    const tier = tiers.get(name);
    if (tier !== 0) refuseContradiction('policy.taxonomy', `${name} in tier 0`, `tier ${tier ?? 'none'}`);
  }
  refuseRepeated(
    document.taxonomy.map((category) => category.id),
    'policy.taxonomy',
  );
  refuseRepeated(
    document.rules.map((rule) => rule.id),
    'policy.rules',
  );
}

function refuseRepeated(names: readonly string[], field: string): void {
  const repeated = names.find((name, i) => names.indexOf(name) !== i);
  if (repeated !== undefined) refuseContradiction(field, 'each id once', repeated);
}

function checkRule(document: PolicyDocument, rule: PolicyRule, path: string): void {
  if (!document.taxonomy.some((category) => category.id === rule.category)) {
    refuseContradiction(`${path}.category`, 'a category of the taxonomy', rule.category);
  }
  for (const term of rule.groups.flat()) {
    if (foldWhole(foldAppearance, term).trim().length < 2) {
      refuseContradiction(`${path}.groups`, 'terms of two letters or more', excerpt(term));
    }
  }
  if (rule.surfaces.includes('output') || rule.surfaces.includes('exchange')) {
    checkHoldBack(document, rule, path);
  }
}

/** All of what a rule finds must still be held back when it is found. */
function checkHoldBack(document: PolicyDocument, rule: PolicyRule, path: string): void {
  const longest = Math.max(...rule.groups.flat().map((term) => foldWhole(foldAppearance, term).length + 1));
  const span = rule.withinCharacters + longest;
  const held = document.streaming.holdBackCharacters;
  if (span > held) refuseContradiction(`${path}.withinCharacters`, `a span of at most ${held}`, String(span));
}
