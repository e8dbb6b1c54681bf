/**
 * What a logged decision must agree with, whatever the policy said: the part of the floors (RP-19) that follows from
 * the log alone. The server cannot log a grant that breaks it; an auditor who finds one has found a server that lies.
 */

import { setsOfClasses } from '../../attestation/core/composite/device-set.ts';
import { deviceSetsOf } from './device-sets.ts';
import type { DecisionEntry, Lease } from './entries.ts';
import { governanceRefusals } from './refusals.ts';
import {
  accreditationAt,
  foreignMachine,
  holdsOn,
  referenceValuesDigestOf,
  releasePolicyDigestOf,
  type GovernanceState,
} from './state.ts';

/**
 * @param state before the entry
 * @throws RefusalError `governance-decision-illegal`
 */
export function checkDecision(state: GovernanceState, entry: DecisionEntry): void {
  checkContext(state, entry);
  if (entry.outcome === 'refused') {
    if (entry.lease !== null) refuse('GV-45', 'lease', 'null in a refusal', 'a lease');
    if (entry.refusals.length === 0) refuse('GV-45', 'refusals', 'what was refused', 'nothing');
    return;
  }
  if (entry.refusals.length > 0) refuse('GV-45', 'refusals', 'none in a grant', `${entry.refusals.length}`);
  checkGrantedParties(state, entry);
  checkGrantedDevices(state, entry);
  checkLease(state, entry, entry.lease);
}

function refuse(rule: string, member: string, expected: string, found: string): never {
  throw governanceRefusals.error('governance-decision-illegal', {
    field: `decision.${member}`,
    expected: `${expected} (${rule})`,
    found,
  });
}

/** What the decision says it was judged by is what was in force (GV-44). */
function checkContext(state: GovernanceState, entry: DecisionEntry): void {
  const phase = state.models.get(entry.manifestDigest)?.phase ?? null;
  if (entry.phase !== phase) refuse('GV-44', 'phase', String(phase), String(entry.phase));
  const referenceValues = referenceValuesDigestOf(state);
  if (entry.referenceValuesDigest !== referenceValues) {
    refuse('GV-44', 'referenceValuesDigest', referenceValues, entry.referenceValuesDigest);
  }
  const releasePolicy = releasePolicyDigestOf(state);
  if (entry.releasePolicyDigest !== releasePolicy) {
    refuse('GV-44', 'releasePolicyDigest', String(releasePolicy), String(entry.releasePolicyDigest));
  }
}

function checkGrantedParties(state: GovernanceState, entry: DecisionEntry): void {
  const { lab, manifestDigest, at, inferencePolicyDigest } = entry;
  if (accreditationAt(state, lab, at) === undefined) {
    refuse('GV-46', 'lab', 'a lab whose accreditation is in force', lab);
  }
  const model = state.models.get(manifestDigest);
  if (model === undefined || model.phase === 'sealed') {
    refuse('GV-46', 'manifestDigest', 'a model version in a phase that grants', manifestDigest);
  }
  if (model.registration.inferencePolicyDigest !== inferencePolicyDigest) {
    refuse('GV-46', 'inferencePolicyDigest', model.registration.inferencePolicyDigest, inferencePolicyDigest);
  }
  const [hold] = holdsOn(state, { lab, manifestDigest });
  if (hold !== undefined) refuse('GV-46', 'outcome', 'no grant under a hold', `hold ${hold.payloadDigest}`);
}

function checkGrantedDevices(state: GovernanceState, entry: DecisionEntry): void {
  if (state.mode === 'production' && entry.claims.some(({ simulated }) => simulated)) {
    refuse('GV-47', 'claims', 'hardware that is not simulated', 'simulated');
  }
  const foreign = foreignMachine(state, entry.lab, entry.claims, entry.at);
  if (foreign !== undefined) refuse('GV-49', 'claims', 'machines of the accreditation in force', foreign);
  const classes = entry.claims.map((device) => device.class);
  const policy = state.releasePolicy?.policy;
  if (policy === undefined || setsOfClasses(deviceSetsOf(policy), classes).length === 0) {
    refuse('GV-47', 'claims', 'the devices of one set of the policy', classes.join(', '));
  }
}

function checkLease(state: GovernanceState, entry: DecisionEntry, lease: Lease | null): void {
  const { phase } = entry;
  const longest =
    phase === null || phase === 'sealed' ? undefined : state.releasePolicy?.policy.leaseSeconds[phase];
  if (lease === null || longest === undefined) {
    refuse('GV-48', 'lease', 'a lease that the policy allows', 'none');
  }
  const length = lease.endsAt - lease.startsAt;
  if (lease.startsAt > entry.at)
    refuse('GV-48', 'lease.startsAt', `at most ${entry.at}`, `${lease.startsAt}`);
  if (length > longest) refuse('GV-48', 'lease.endsAt', `at most ${longest} s`, `${length} s`);
  // At least one second, so this refuses a lease of no length too.
  if (lease.renewAfterSeconds > length) {
    refuse('GV-48', 'lease.renewAfterSeconds', `at most ${length} s`, `${lease.renewAfterSeconds} s`);
  }
}
