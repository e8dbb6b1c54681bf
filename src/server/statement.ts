/** Statements of persons: tried against the rules, then logged (docs/spec/governance.md section 2). Free of HTTP. */

import { toBase64 } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { deviceSetText, type DeviceSet } from '../../attestation/core/composite/device-set.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { deviceSetsOf } from '../governance/device-sets.ts';
import { statementEntry } from '../governance/entries.ts';
import type { ReferenceValues, ReleasePolicy, StagedReferenceValues } from '../governance/predicates.ts';
import { verifyStatement } from '../governance/statements.ts';
import type { Envelope } from '../platform/dsse.ts';
import type { ReleasePolicyEngine } from '../policy/release-policy.ts';
import { VERIFIED_CLASSES } from './device-classes.ts';
import type { GovernanceLog } from './governance-log.ts';
import type { StatementAnswer } from './messages.ts';

export const statementRefusals = defineRefusals('unacceptable', {
  'statement-device-class': {
    means: 'Reference values are for a device class that this server does not verify.',
    hint: 'Name a class that the server knows; a newer version of it may know more.',
  },
  'statement-device-set': {
    means:
      'A release policy declares a set of several devices that no machine can be: not exactly one of them signs for the others.',
    hint: 'Name one device that binds companions in each set of several, such as sev-snp.',
  },
});

export interface StatementContext {
  readonly governance: GovernanceLog;
  readonly engine: ReleasePolicyEngine;
}

/**
 * Logs a statement, if the rules let it count.
 *
 * @param envelope from the network, with one signature
 * @throws RefusalError `governance-*`, `dsse-*`, `policy-*`, `shape-mismatch`, `server-stopped`, `server-busy`
 */
export async function acceptStatement(
  { governance, engine }: StatementContext,
  envelope: Envelope,
): Promise<StatementAnswer> {
  const { named } = verifyStatement(envelope, governance.state.trustRoot);
  // A policy that does not parse would refuse everything once it is in force: better to say so to its signers.
  if (named.name === 'release-policy/v1') checkReleasePolicy(engine, named.predicate);
  if (named.name === 'reference-values/v1' || named.name === 'reference-values/v2') {
    checkReferenceValues(named.predicate);
  }
  const recorded = await governance.record((_state, at) => statementEntry(at, envelope));
  return {
    version: 1,
    index: Number(recorded.index),
    entry: toBase64(recorded.entry),
    proof: recorded.proof,
    effects: recorded.effects as unknown as Record<string, JsonValue>[],
  };
}

function checkReleasePolicy(engine: ReleasePolicyEngine, policy: ReleasePolicy): void {
  engine.compile(policy.cedar);
  for (const { appraisalPolicy, checkPolicy } of VERIFIED_CLASSES.values()) {
    const document = appraisalPolicy(policy);
    if (document !== undefined) checkPolicy(document);
  }
  for (const set of deviceSetsOf(policy)) checkDeviceSet(set);
}

/** CM-7. What a class that this server does not know can do, a newer server may know. */
function checkDeviceSet(set: DeviceSet): void {
  const known = set.every(({ class: name }) => VERIFIED_CLASSES.has(name));
  const countOf = (demands: DeviceSet): number => demands.reduce((sum, { count }) => sum + count, 0);
  const binding = set.filter(({ class: name }) => VERIFIED_CLASSES.get(name)?.deviceClass.bindsCompanions);
  if (!known || countOf(set) === 1 || countOf(binding) === 1) return;
  throw statementRefusals.error('statement-device-set', {
    field: 'statement.predicate.deviceSets',
    expected: 'one device that signs for the others (CM-7)',
    found: deviceSetText(set),
  });
}

/** As with policies: a document that its device class cannot read would refuse every machine of that class. */
function checkReferenceValues({ deviceClass, values }: ReferenceValues | StagedReferenceValues): void {
  const verified = VERIFIED_CLASSES.get(deviceClass);
  if (verified === undefined) {
    throw statementRefusals.error('statement-device-class', {
      field: 'statement.predicate.deviceClass',
      expected: [...VERIFIED_CLASSES.keys()].join(', '),
      found: deviceClass,
    });
  }
  verified.checkReferenceValues(values);
}
