/** Verification of the example device: key, statement, state, in this order. */

import { equalBytes, toHex } from '../core/bytes.ts';
import type { DeviceInputs } from '../core/device-class.ts';
import { verifySignature } from '../core/signature.ts';
import { defineChecks, judge } from '../core/verdict.ts';
import type { Checklist, Verdict } from '../core/verdict.ts';
import { appraise } from './appraise.ts';
import { authenticateKey } from './chain.ts';
import type { DeviceKey } from './chain.ts';
import { exampleClaims } from './claims.ts';
import type { ExampleClaims } from './claims.ts';
import { readPolicy, readReferenceValues } from './documents.ts';
import type { ExampleEvidence } from './evidence.ts';

export const statementChecks = defineChecks('inauthentic', {
  'example-signature': {
    means: 'The statement is not signed by the device’s key.',
    hint: 'Statement and signature were altered, or belong to two devices.',
    protects: 'Anybody could write a statement.',
  },
  'example-binding': {
    means: 'The statement was made for something else.',
    hint: 'Sign the device value of this challenge; each challenge is good for one attempt.',
    protects: 'An old statement could be sent again, or that of an honest machine with another’s key.',
  },
});

/** The verdict on one example device. */
export function verifyExampleEvidence(
  evidence: ExampleEvidence,
  inputs: DeviceInputs,
): Promise<Verdict<ExampleClaims>> {
  return judge(async (checks) => {
    const policy = readPolicy(inputs.policy);
    const referenceValues = inputs.referenceValues.map(readReferenceValues);
    const { key, anchor } = await authenticateKey(evidence, inputs, checks);
    await authenticateStatement(evidence, key, inputs.expectedDeviceValue, checks);
    const reference = appraise(evidence.statement, { policy, referenceValues }, checks);
    return exampleClaims(evidence, anchor, reference);
  });
}

async function authenticateStatement(
  { statement, signed, signature }: ExampleEvidence,
  key: DeviceKey['key'],
  expectedDeviceValue: Uint8Array,
  checks: Checklist,
): Promise<void> {
  const scheme = { algorithm: 'ecdsa', hash: 'SHA-256' } as const;
  const holds = await verifySignature(key, scheme, signature, signed);
  checks.demand(statementChecks, 'example-signature', holds, {
    field: 'signature',
    expected: 'a signature by the certified key',
    found: holds ? 'one' : 'one that does not verify',
  });
  checks.demand(statementChecks, 'example-binding', equalBytes(statement.deviceValue, expectedDeviceValue), {
    field: 'statement.deviceValue',
    expected: toHex(expectedDeviceValue),
    found: toHex(statement.deviceValue),
  });
}
