/** What an agent measures of itself: its program, and what it was started to do (AM-8). */

import { fromHex } from '../../attestation/core/bytes.ts';
import type { SealedBundle } from '../sealed/reader.ts';
import type { InferencePolicy } from '../guard/policy.ts';
import type { MachineOptions } from './machine.ts';
import { digestOfProgram } from './program-digest.ts';

/** What the agent was started with. */
interface MeasuredStart {
  readonly machine: MachineOptions;
  readonly bundle: SealedBundle;
  readonly policy: InferencePolicy;
  /** Where the logs of what was measured stand. */
  readonly agentLogFolder: string;
}

/**
 * The machine together with what is measured into its TPM where the server asks for it. The program is read once: what
 * counts are the files from which it started.
 */
export function measuredMachine({ machine, bundle, policy, agentLogFolder }: MeasuredStart): MachineOptions {
  let program: Promise<Uint8Array> | undefined;
  const measurement = {
    folder: agentLogFolder,
    events: async () =>
      [
        { kind: 'agent-program', digest: await (program ??= digestOfProgram()) },
        { kind: 'inference-policy', digest: policy.digest },
        { kind: 'model-manifest', digest: fromHex(bundle.manifest.digest, 'manifest.digest') },
      ] as const,
  };
  return { ...machine, tpm: { ...machine.tpm, measurement } };
}
