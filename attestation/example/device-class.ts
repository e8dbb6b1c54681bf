/** The device class `example`: the template for a new one. It is registered nowhere but in tests. */

import type { DeviceClass, DeviceInputs } from '../core/device-class.ts';
import { judge } from '../core/verdict.ts';
import type { Verdict } from '../core/verdict.ts';
import { appraise, readPolicy, readReferenceValues } from './appraise.ts';
import { authenticateKey, authenticateStatement } from './authenticate.ts';
import { exampleClaims, exampleTrustVector } from './claims.ts';
import type { ExampleClaims } from './claims.ts';
import { exampleIdentity, readExampleEvidence } from './layout.ts';
import type { ExampleEvidence } from './layout.ts';

export const exampleDeviceClass: DeviceClass<ExampleEvidence, ExampleClaims> = {
  name: 'example',
  // The statement has no member for the evidence of other devices; a CPU's report names this one's.
  bindsCompanions: false,
  parse: readExampleEvidence,
  identify: exampleIdentity,
  verify: verifyExampleEvidence,
  modelOf: () => 'WGEX',
  trustVectorOf: () => exampleTrustVector,
};

/** The verdict on one example device: key, statement, state, in this order. */
function verifyExampleEvidence(
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
