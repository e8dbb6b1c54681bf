/** The shipped inference policy, and small variants of it for tests. */

import { readFileSync } from 'node:fs';
import { readInferencePolicy, type InferencePolicy } from '../../src/guard/policy.ts';

export const baselineYaml = readFileSync(
  new URL('../../policies/inference/baseline.yaml', import.meta.url),
  'utf8',
);

export function readBaseline(): Promise<InferencePolicy> {
  return readPolicyText(baselineYaml);
}

export function readPolicyText(yaml: string): Promise<InferencePolicy> {
  return readInferencePolicy(new TextEncoder().encode(yaml));
}
