/**
 * The fold: from the genesis entry, entry by entry, to the state of governance (docs/spec/governance.md section 5).
 *
 * Pure (W10): the same entries give the same state on any machine. The server applies an entry as a dry run before
 * it logs it, so that nothing illegal is logged; the auditor applies what was logged, and a refusal is an alarm.
 */

import { envelopeOf, type EnrolmentEntry, type GenesisEntry, type LogEntry } from './entries.ts';
import { checkDecision } from './decision-rules.ts';
import { applyCustody, NO_CUSTODY } from './custody.ts';
import { applyHeartbeat, countDecision, NO_HEARTBEATS } from './heartbeat.ts';
import { countSignature } from './quorum.ts';
import { governanceRefusals } from './refusals.ts';
import { accreditationAt, namesTpm, type Applied, type Effect, type GovernanceState } from './state.ts';
import { verifyStatement } from './statements.ts';
import { checkTrustRoot } from './trust-root.ts';

/** What the origin of an evaluation server ends in, and that of a production server does not (RP-5). */
export const EVALUATION_ORIGIN_SUFFIX = '/evaluation';

/**
 * The state after the first entry.
 *
 * @throws RefusalError `governance-genesis`, `governance-trust-root`
 */
export function initialState(genesis: GenesisEntry): GovernanceState {
  const { origin, mode, logKey, trustRoot, at } = genesis;
  const evaluation = mode === 'evaluation';
  if (origin.endsWith(EVALUATION_ORIGIN_SUFFIX) !== evaluation) {
    refuseGenesis(
      'origin',
      `an origin ${evaluation ? '' : 'not '}ending in ${EVALUATION_ORIGIN_SUFFIX}`,
      origin,
    );
  }
  if (trustRoot.mode !== mode) refuseGenesis('trustRoot.mode', mode, trustRoot.mode);
  if (!logKey.startsWith(`${origin}+`)) refuseGenesis('logKey', `a key of ${origin}`, logKey);
  checkTrustRoot(trustRoot);
  return {
    origin,
    mode,
    logKey,
    trustRoot,
    size: 1,
    at,
    labs: new Map(),
    models: new Map(),
    holds: new Map(),
    referenceValues: new Map(),
    releasePolicy: null,
    pending: new Map(),
    settled: new Set(),
    enrolments: new Map(),
    custody: NO_CUSTODY,
    heartbeats: NO_HEARTBEATS,
  };
}

function refuseGenesis(member: string, expected: string, found: string): never {
  throw governanceRefusals.error('governance-genesis', {
    field: `genesis.${member}`,
    expected: `${expected} (GV-2)`,
    found,
  });
}

/**
 * Applies the next entry.
 *
 * @param index place of the entry in the log, counted from the genesis entry
 * @returns a new state; the one given is unchanged, also when the entry is refused
 * @throws RefusalError `governance-*`, `dsse-*`, `json-*`, `utf8-malformed`, `base64-malformed`, `shape-mismatch`;
 * `expected` names the rule
 */
export function applyEntry(state: GovernanceState, entry: LogEntry, index: number): Applied {
  checkOrder(state, entry, index);
  const next = { ...state, size: index + 1, at: entry.at };
  switch (entry.type) {
    case 'genesis':
      return refuseGenesis('index', 'one genesis entry, the first', `another at ${index}`);
    case 'statement': {
      const signed = verifyStatement(envelopeOf(entry), state.trustRoot);
      return countSignature(next, signed, { index, at: entry.at, payloadDigest: signed.payloadDigest });
    }
    case 'enrolment':
      return enrol(next, entry, index);
    case 'decision':
      checkDecision(state, entry);
      return { state: { ...next, heartbeats: countDecision(state.heartbeats, entry) }, effects: [] };
    case 'custody': {
      const { event, provider } = entry;
      const custody = applyCustody(state, entry);
      return { state: { ...next, custody }, effects: [{ effect: 'custody-changed', event, provider }] };
    }
    case 'heartbeat': {
      const { heartbeats, silenceSeconds: seconds } = applyHeartbeat(state, entry, index);
      const effects: Effect[] = seconds === undefined ? [] : [{ effect: 'silence-ended', seconds }];
      return { state: { ...next, heartbeats }, effects };
    }
  }
}

/**
 * Replays a log from its genesis entry.
 *
 * @throws RefusalError as `initialState` and `applyEntry`
 */
export function replay(entries: Iterable<LogEntry>): GovernanceState {
  let state: GovernanceState | undefined;
  for (const entry of entries) {
    if (state !== undefined) state = applyEntry(state, entry, state.size).state;
    else if (entry.type === 'genesis') state = initialState(entry);
    else refuseGenesis('type', 'a genesis entry first', entry.type);
  }
  return state ?? refuseGenesis('type', 'a genesis entry first', 'no entry');
}

function checkOrder(state: GovernanceState, entry: LogEntry, index: number): void {
  if (index !== state.size) {
    throw governanceRefusals.error('governance-entry-order', {
      field: 'entry.index',
      expected: `${state.size} (GV-3)`,
      found: String(index),
    });
  }
  if (entry.at < state.at) {
    throw governanceRefusals.error('governance-entry-order', {
      field: 'entry.at',
      expected: `at least ${state.at} (GV-3)`,
      found: String(entry.at),
    });
  }
}

function enrol(state: GovernanceState, entry: EnrolmentEntry, index: number): Applied {
  checkEnrolment(state, entry);
  const { at, lab, attestationKeyName, endorsementKeyDigest, endorsementCertificateDigest, simulated } =
    entry;
  const enrolment = { index, at, lab, endorsementKeyDigest, endorsementCertificateDigest, simulated };
  return {
    state: { ...state, enrolments: new Map(state.enrolments).set(attestationKeyName, enrolment) },
    effects: [{ effect: 'machine-enrolled', lab, attestationKeyName }],
  };
}

function checkEnrolment(state: GovernanceState, entry: EnrolmentEntry): void {
  if (entry.simulated && state.mode !== 'evaluation') {
    throw governanceRefusals.error('governance-simulated', {
      field: 'enrolment.simulated',
      expected: 'hardware that is not simulated (GV-41)',
      found: 'simulated',
    });
  }
  if (!namesTpm(accreditationAt(state, entry.lab, entry.at), entry.endorsementKeyDigest)) {
    throw governanceRefusals.error('governance-accreditation', {
      field: 'enrolment.endorsementKeyDigest',
      expected: `a machine in the accreditation of ${entry.lab} that is in force (GV-40)`,
      found: entry.endorsementKeyDigest,
    });
  }
  const existing = state.enrolments.get(entry.attestationKeyName);
  if (existing === undefined) return;
  if (existing.lab !== entry.lab || existing.endorsementKeyDigest !== entry.endorsementKeyDigest) {
    throw governanceRefusals.error('governance-enrolment-conflict', {
      field: 'enrolment.attestationKeyName',
      expected: 'the lab and endorsement key of its first enrolment (GV-42)',
      found: `lab ${entry.lab}, endorsement key ${entry.endorsementKeyDigest}`,
    });
  }
}
