/** The option by which a reader of a log says which witnesses it demands (WT-21). */

import { Option } from 'commander';

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import type { VerifierKey } from '../log/verifier-key.ts';
import { parseWitnessPolicy, requirePolicyForLog, type Witnessing } from '../log/witness-policy.ts';
import { readFileBounded } from '../platform/files.ts';

const MAX_POLICY_BYTES = 65_536;
/** Nobody is left without witnesses by forgetting an option. */
const NONE = 'none';

export const witnessPolicyOption = (): Option =>
  new Option(
    '--witness-policy <file>',
    `which witnesses must have cosigned the log (C2SP tlog-policy), or ${NONE}`,
  ).makeOptionMandatory();

/**
 * @param option a path, or the word for none
 * @param logKeys of the log that the caller pins
 * @throws RefusalError `witness-policy-*`, `file-*`, `utf8-malformed`, and those of `parseVerifierKey`
 */
export async function readWitnessing(option: string, logKeys: readonly VerifierKey[]): Promise<Witnessing> {
  if (option === NONE) return 'not-required';
  const policy = parseWitnessPolicy(
    fromUtf8(await readFileBounded(option, MAX_POLICY_BYTES), option),
    option,
  );
  requirePolicyForLog(policy, logKeys, option);
  return policy;
}
