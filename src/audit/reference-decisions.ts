/**
 * What a change of reference values would have meant for the decisions of a log (docs/spec/governance.md, GV-66): as far
 * as logged claims tell, and not a word further.
 */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { equalBytes } from '../../attestation/core/bytes.ts';
import { decodeEntry, type DecisionEntry, type DeviceClaims } from '../governance/entries.ts';
import { applyEntry, initialState } from '../governance/fold.ts';
import { governanceRefusals } from '../governance/refusals.ts';
import { referenceValuesFor, standingReferenceValues } from '../governance/reference-values.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { LogTrust, VerifiedCheckpoint } from '../log/checkpoint.ts';
import { auditLog, type LogSource } from '../log/reader.ts';
import { fitsClaims } from './claims-fit.ts';

/** A change of reference values of one class. */
export interface ReferenceChange {
  readonly deviceClass: string;
  readonly old: JsonValue;
  readonly new: JsonValue;
  /** `class/identity` of the device that speaks for a machine, by its claims (GV-65). */
  readonly speakerOf: (claims: readonly DeviceClaims[]) => string;
}

/** `turns`: the reference values would have refused. `holds`: they would not. `open`: the log does not tell. */
export type Answer = 'turns' | 'holds' | 'open';

export interface TouchedDecision {
  readonly index: number;
  /** POSIX seconds. */
  readonly at: number;
  readonly lab: string;
  readonly outcome: DecisionEntry['outcome'];
  /** Names the set of statements by which it was made, the changed one among them. */
  readonly referenceValuesDigest: string;
  /** Under which the server keeps the request with its evidence (RP-34). */
  readonly requestDigest: string;
  readonly answer: Answer;
  readonly reason: string;
}

export interface ReferenceImpact {
  readonly checkpoint: VerifiedCheckpoint;
  /** Payload digests of the statements that have put the old values in force. */
  readonly statements: readonly string[];
  /** How many decisions the log has. */
  readonly decisions: number;
  /** Those that were made while a statement of the old values stood. */
  readonly touched: readonly TouchedDecision[];
}

/** Verifies a log and looks at its decisions. @throws RefusalError `log-*`, and what an entry against the rules is */
export async function referenceImpact(
  source: LogSource,
  trust: LogTrust,
  change: ReferenceChange,
): Promise<ReferenceImpact> {
  const touched: TouchedDecision[] = [];
  const statements = new Set<string>();
  let decisions = 0;
  let state: GovernanceState | undefined;
  const options = { minimumSize: 1n, previous: undefined };
  const checkpoint = await auditLog(source, trust, options, (bytes, position) => {
    const entry = decodeEntry(bytes);
    const index = Number(position);
    if (entry.type === 'decision' && state !== undefined) {
      decisions += 1;
      const digests = standingDigests(state, change);
      for (const digest of digests) statements.add(digest);
      if (digests.length > 0) touched.push(touchedDecision(state, entry, index, change));
    }
    state = state === undefined ? begin(entry) : applyEntry(state, entry, index).state;
  });
  return { checkpoint, statements: [...statements], decisions, touched };
}

function begin(entry: ReturnType<typeof decodeEntry>): GovernanceState {
  if (entry.type === 'genesis') return initialState(entry);
  const facts = { field: 'genesis.type', expected: 'a genesis entry first (GV-2)', found: entry.type };
  throw governanceRefusals.error('governance-genesis', facts);
}

/** Payload digests of the statements with exactly these values that stand. */
function standingDigests(state: GovernanceState, { deviceClass, old }: ReferenceChange): readonly string[] {
  return standingReferenceValues(state)
    .filter(({ reference }) => reference.deviceClass === deviceClass && isSame(reference.values, old))
    .map(({ payloadDigest }) => payloadDigest);
}

function isSame(left: JsonValue, right: JsonValue): boolean {
  return equalBytes(encodeCanonicalJson(left), encodeCanonicalJson(right));
}

function touchedDecision(
  state: GovernanceState,
  entry: DecisionEntry,
  index: number,
  change: ReferenceChange,
): TouchedDecision {
  const { at, lab, outcome, referenceValuesDigest, requestDigest } = entry;
  const head = { index, at, lab, outcome, referenceValuesDigest, requestDigest };
  return { ...head, ...answerOf(state, entry, change) };
}

function answerOf(
  state: GovernanceState,
  { outcome, claims, at }: DecisionEntry,
  change: ReferenceChange,
): Pick<TouchedDecision, 'answer' | 'reason'> {
  if (outcome === 'refused') {
    return {
      answer: 'open',
      reason: 'a refusal: the log holds neither its evidence nor claims to appraise again',
    };
  }
  const devices = claims.filter((device) => device.class === change.deviceClass);
  if (devices.length === 0) return { answer: 'holds', reason: `no ${change.deviceClass} took part` };
  const counting = referenceValuesFor(state, change.deviceClass, { at, machine: change.speakerOf(claims) });
  const others = counting.map(({ values }) => values).filter((values) => !isSame(values, change.old));
  if (others.length === counting.length) {
    return { answer: 'holds', reason: 'the old values did not count for this machine then' };
  }
  const answers = devices.map((device) => deviceAnswer(device, others, change));
  const worst = (['turns', 'open', 'holds'] as const).find((answer) =>
    answers.some((given) => given.answer === answer),
  );
  return answers.find(({ answer }) => answer === worst) ?? { answer: 'open', reason: 'nothing to judge' };
}

function deviceAnswer(
  { claims }: DeviceClaims,
  others: readonly JsonValue[],
  { deviceClass, old, new: replacement }: ReferenceChange,
): Pick<TouchedDecision, 'answer' | 'reason'> {
  const before = fitsClaims(deviceClass, old, claims);
  if (before === undefined) {
    return {
      answer: 'open',
      reason: 'the claims do not tell what these values judge; the evidence is not in the log',
    };
  }
  if (!before) return { answer: 'holds', reason: 'rested on other values' };
  if (fitsClaims(deviceClass, replacement, claims) === true) {
    return { answer: 'holds', reason: 'the claims fit the new values too' };
  }
  if (others.some((values) => fitsClaims(deviceClass, values, claims) === true)) {
    return { answer: 'holds', reason: 'the claims fit other values that counted too' };
  }
  return { answer: 'turns', reason: 'the claims fit the old values and no others that would have counted' };
}
