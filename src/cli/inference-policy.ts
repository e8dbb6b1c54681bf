/** Inference policies as commands meet them: a YAML file of the operator. */

import { readInferencePolicy, type InferencePolicy } from '../guard/policy.ts';
import { readFileBounded } from '../platform/files.ts';

const MAX_POLICY_BYTES = 1024 * 1024;

/** @throws RefusalError `guard-policy-*`, `shape-mismatch`, `file-*` */
export async function readInferencePolicyFile(path: string): Promise<InferencePolicy> {
  return await readInferencePolicy(await readFileBounded(path, MAX_POLICY_BYTES));
}
