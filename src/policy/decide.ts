/**
 * The decision: may this lab run this model version on this machine, now? Pure (W10): an auditor who has the log and
 * the request derives the same answer again.
 */

import { defineRefusals, RefusalError, type Refusal } from '../../attestation/core/refusal.ts';
import type { DeviceClaims, Lease } from '../governance/entries.ts';
import type { Phase } from '../governance/fields.ts';
import { accreditationAt, type GovernanceState } from '../governance/state.ts';
import type { EvidenceSummary, ReleaseFacts } from './facts.ts';
import { judgeFloors, leaseSecondsOf } from './floors.ts';
import { sevSnpFactsOf } from './sev-snp-facts.ts';
import type { PolicyAnswer, PolicyQuestion, ReleasePolicyEngine } from './release-policy.ts';

export const policyRefusals = defineRefusals('unacceptable', {
  'policy-refused': {
    means: 'The release policy does not permit this, or forbids it.',
    hint: 'The named policies decided; where none is named, none permits it. Check purpose, phase and machine with the owner.',
  },
  'policy-failed': {
    means: 'The release policy could not be evaluated, which refuses.',
    hint: 'The owner has to correct the release policy and sign it with a higher epoch.',
  },
});

/** Renewal begins when this part of a lease is over, so that an outage of the rest of it does no harm. */
const RENEW_AFTER_PART = 0.5;

export interface DecisionInput {
  readonly state: GovernanceState;
  readonly facts: ReleaseFacts;
  readonly evidence: EvidenceSummary;
  /** POSIX seconds by the clock of the server; the time of the decision entry. */
  readonly at: number;
  /** Identifier of the lease to be granted: 16 random bytes in lower-case hexadecimal, drawn by the caller. */
  readonly lease: string;
  readonly engine: ReleasePolicyEngine;
}

/** The part of a decision entry that was decided. */
export type Decision =
  | {
      readonly outcome: 'granted';
      readonly phase: Phase;
      readonly reasons: readonly string[];
      readonly refusals: readonly [];
      readonly lease: Lease;
    }
  | {
      readonly outcome: 'refused';
      readonly phase: Phase | null;
      readonly reasons: readonly string[];
      /** At least one. */
      readonly refusals: readonly Refusal[];
      readonly lease: null;
    };

/** Judges in the order of RP-18 and stops at the first step that refuses. Throws nothing. */
export function decide(input: DecisionInput): Decision {
  const { state, facts, evidence, at } = input;
  if (evidence.outcome === 'refused') return refused(input, evidence.refusals, []);
  const broken = judgeFloors(state, facts, evidence.devices, at);
  if (broken.length > 0) return refused(input, broken, []);
  const question = questionOf(input, evidence.devices);
  const leaseSeconds = leaseSecondsOf(state, facts);
  if (question === undefined || leaseSeconds === undefined) {
    return refused(input, [failed('facts that the floors let through')], []);
  }
  const { allowed, reasons, errors } = ask(input, question);
  if (errors.length > 0) return refused(input, errors.map(failed), reasons);
  if (!allowed) return refused(input, [notPermitted(reasons)], reasons);
  return {
    outcome: 'granted',
    phase: question.model.phase,
    reasons,
    refusals: [],
    lease: {
      lease: input.lease,
      startsAt: at,
      endsAt: at + leaseSeconds,
      renewAfterSeconds: Math.max(1, Math.floor(leaseSeconds * RENEW_AFTER_PART)),
    },
  };
}

function refused(input: DecisionInput, refusals: readonly Refusal[], reasons: readonly string[]): Decision {
  const phase = input.state.models.get(input.facts.manifestDigest)?.phase ?? null;
  return { outcome: 'refused', phase, reasons, refusals, lease: null };
}

function failed(found: string): Refusal {
  return policyRefusals.refusal('policy-failed', {
    field: 'releasePolicy',
    expected: 'an evaluation without errors',
    found,
  });
}

function notPermitted(reasons: readonly string[]): Refusal {
  return policyRefusals.refusal('policy-refused', {
    field: 'releasePolicy',
    expected: 'a policy that permits and none that forbids',
    found: reasons.length === 0 ? 'none that permits' : `forbidden by ${reasons.join(', ')}`,
  });
}

interface FullQuestion extends PolicyQuestion {
  readonly model: PolicyQuestion['model'] & { readonly phase: Phase };
}

function questionOf(
  { state, facts, at }: DecisionInput,
  devices: readonly DeviceClaims[],
): FullQuestion | undefined {
  const lab = accreditationAt(state, facts.lab, at);
  const model = state.models.get(facts.manifestDigest);
  const guest = sevSnpFactsOf(devices);
  if (lab === undefined || model === undefined || guest === undefined) return undefined;
  return {
    action: facts.renews === null ? 'obtain' : 'renew',
    lab: { lab: lab.lab, organisation: lab.organisation, jurisdiction: lab.jurisdiction },
    model: { ...model.registration, phase: model.phase },
    context: {
      purpose: facts.purpose,
      mode: state.mode,
      at,
      machine: {
        deviceClasses: [...new Set(devices.map((device) => device.class))].sort(),
        simulated: devices.some(({ simulated }) => simulated),
        ...guest,
      },
    },
  };
}

function ask({ state, engine }: DecisionInput, question: PolicyQuestion): PolicyAnswer {
  try {
    return engine.compile(state.releasePolicy?.policy.cedar ?? '').ask(question);
  } catch (error) {
    if (!(error instanceof RefusalError)) throw error;
    return { allowed: false, reasons: [], errors: [error.message] };
  }
}
