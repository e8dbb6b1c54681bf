/**
 * The operator's release policy, written in Cedar: checked against the schema, parsed once, and asked (GV-51 to GV-53).
 *
 * Cedar skips a policy that fails while it is evaluated, a forbidding one too. Here any error refuses (RP-20).
 */

import { createHash } from 'node:crypto';
import { fileURLToPath } from 'node:url';

import {
  policySetTextToParts,
  policyToJson,
  preparsePolicySet,
  preparseSchema,
  statefulIsAuthorized,
  validate,
  type CedarValueJson,
  type DetailedError,
} from '@cedar-policy/cedar-wasm/nodejs';

import { excerpt, fromUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readFileBounded } from '../platform/files.ts';
import type { SevSnpFacts } from './sev-snp-facts.ts';

export const releasePolicyRefusals = defineRefusals('malformed', {
  'policy-not-parsed': {
    means: 'A release policy or its schema is not Cedar.',
    hint: 'Correct the text at the named place; the grammar is that of docs.cedarpolicy.com.',
  },
  'policy-not-identified': {
    means: 'A policy of a release policy has no @id, or shares it with another.',
    hint: 'Write a distinct @id("…") in front of each policy: it is what stands in the log as the reason.',
  },
  'policy-not-valid': {
    means: 'A release policy uses a word that the schema does not have, or in the wrong way.',
    hint: 'Compare the policy with policies/release/weightgate.cedarschema.',
  },
});

const SCHEMA_PATH = fileURLToPath(new URL('../../policies/release/weightgate.cedarschema', import.meta.url));
const MAX_SCHEMA_BYTES = 256 * 1024;

/** What is asked of the policy. The attributes stand in `policies/release/weightgate.cedarschema`. */
export interface PolicyQuestion {
  readonly action: 'obtain' | 'renew';
  readonly lab: { readonly lab: string; readonly organisation: string; readonly jurisdiction: string };
  readonly model: {
    readonly manifestDigest: string;
    readonly model: string;
    readonly version: string;
    readonly variant: string;
    readonly phase: string;
  };
  readonly context: {
    readonly purpose: string;
    readonly mode: string;
    readonly at: number;
    readonly machine: {
      readonly deviceClasses: readonly string[];
      readonly simulated: boolean;
      readonly sevSnp?: SevSnpFacts;
    };
  };
}

export interface PolicyAnswer {
  readonly allowed: boolean;
  /** Identifiers of the policies that determined the answer, sorted. */
  readonly reasons: readonly string[];
  /** What went wrong; not empty only when not allowed. */
  readonly errors: readonly string[];
}

/** A release policy that passed all checks. */
interface ReleasePolicyProgram {
  /** Identifiers of its policies, in their order. */
  readonly policies: readonly string[];
  ask(question: PolicyQuestion): PolicyAnswer;
}

export interface ReleasePolicyEngine {
  /**
   * Parses and checks a release policy; the same text again costs a look-up.
   *
   * @throws RefusalError `policy-not-parsed`, `policy-not-identified`, `policy-not-valid`
   */
  compile(cedar: string): ReleasePolicyProgram;
}

/** The engine with the schema that this release ships. @throws RefusalError `file-*`, `policy-not-parsed` */
export async function openReleasePolicyEngine(): Promise<ReleasePolicyEngine> {
  const schema = await readFileBounded(SCHEMA_PATH, MAX_SCHEMA_BYTES);
  return createReleasePolicyEngine(fromUtf8(schema, 'weightgate.cedarschema'));
}

/** @throws RefusalError `policy-not-parsed` */
export function createReleasePolicyEngine(schema: string): ReleasePolicyEngine {
  const schemaName = createHash('sha256').update(schema).digest('hex');
  refuseErrors('schema', preparseSchema(schemaName, schema));
  const programs = new Map<string, ReleasePolicyProgram>();
  return {
    compile: (cedar) => {
      const known = programs.get(cedar);
      if (known !== undefined) return known;
      const program = compile(schema, schemaName, cedar);
      programs.set(cedar, program);
      return program;
    },
  };
}

function compile(schema: string, schemaName: string, cedar: string): ReleasePolicyProgram {
  const policies = identifiedPolicies(cedar);
  const staticPolicies = Object.fromEntries(policies);
  const validation = validate({ schema, policies: { staticPolicies } });
  refuseErrors('releasePolicy.cedar', validation);
  const [problem] = validation.type === 'success' ? validation.validationErrors : [];
  if (problem !== undefined) {
    throw releasePolicyRefusals.error('policy-not-valid', {
      field: `releasePolicy.cedar.${excerpt(problem.policyId)}`,
      expected: 'a policy that fits the schema (GV-51)',
      found: printable(problem.error),
    });
  }
  const programName = createHash('sha256').update(schemaName).update(cedar).digest('hex');
  refuseErrors('releasePolicy.cedar', preparsePolicySet(programName, { staticPolicies }));
  return {
    policies: policies.map(([identifier]) => identifier),
    ask: (question) => ask(schemaName, programName, question),
  };
}

function identifiedPolicies(cedar: string): readonly (readonly [string, string])[] {
  const parts = policySetTextToParts(cedar);
  refuseErrors('releasePolicy.cedar', parts);
  if (parts.type === 'failure') return [];
  const identified = parts.policies.map((text) => [identifierOf(text), text] as const);
  const distinct = new Set(identified.map(([identifier]) => identifier));
  if (parts.policy_templates.length > 0 || distinct.size !== identified.length || distinct.has('')) {
    throw releasePolicyRefusals.error('policy-not-identified', {
      field: 'releasePolicy.cedar',
      expected: 'static policies, each with an @id of its own (GV-51)',
      found: `${identified.length} policies, ${distinct.size} identifiers, ${parts.policy_templates.length} templates`,
    });
  }
  return identified;
}

/** The `@id` of a policy; the empty text when it has none or one that a log entry cannot carry. */
function identifierOf(text: string): string {
  const answer = policyToJson(text);
  refuseErrors('releasePolicy.cedar', answer);
  // The annotation is null when it is written without a value, whatever the declared type says.
  const identifier: unknown = answer.type === 'success' ? answer.json.annotations?.['id'] : undefined;
  return typeof identifier === 'string' && /^[A-Za-z0-9][A-Za-z0-9._-]{0,126}$/.test(identifier)
    ? identifier
    : '';
}

type CedarAnswer =
  { readonly type: 'success' } | { readonly type: 'failure'; readonly errors: DetailedError[] };

function refuseErrors(field: string, answer: CedarAnswer): void {
  if (answer.type === 'success') return;
  const [error] = answer.errors;
  throw releasePolicyRefusals.error('policy-not-parsed', {
    field,
    expected: 'Cedar',
    found: error === undefined ? 'text that does not parse' : printable(error),
  });
}

function printable(error: DetailedError): string {
  const at = error.sourceLocations?.[0]?.start;
  return excerpt(error.message) + (at === undefined ? '' : ` at character ${at}`);
}

function ask(schemaName: string, programName: string, question: PolicyQuestion): PolicyAnswer {
  const { action, lab, model, context } = question;
  const labUid = { type: 'Weightgate::Lab', id: lab.lab };
  const modelUid = { type: 'Weightgate::ModelVersion', id: model.manifestDigest };
  const { organisation, jurisdiction } = lab;
  const { model: modelName, version, variant, phase } = model;
  const answer = statefulIsAuthorized({
    principal: labUid,
    action: { type: 'Weightgate::Action', id: action },
    resource: modelUid,
    context: context as unknown as Record<string, CedarValueJson>,
    preparsedSchemaName: schemaName,
    validateRequest: true,
    preparsedPolicySetId: programName,
    entities: [
      { uid: labUid, attrs: { organisation, jurisdiction }, parents: [] },
      { uid: modelUid, attrs: { model: modelName, version, variant, phase }, parents: [] },
    ],
  });
  if (answer.type === 'failure') return { allowed: false, reasons: [], errors: answer.errors.map(printable) };
  const { decision, diagnostics } = answer.response;
  const errors = diagnostics.errors.map(({ policyId, error }) => `${policyId}: ${printable(error)}`);
  return {
    allowed: decision === 'allow' && errors.length === 0,
    reasons: diagnostics.reason.toSorted(),
    errors,
  };
}
