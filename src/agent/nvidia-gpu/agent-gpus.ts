/** The GPUs of a running agent: verified before the first exchange with the server, closed after the engine. */

import { isRefusal } from '../../../attestation/core/refusal.ts';
import { addressesOfGpus, type MachineOptions } from '../machine.ts';
import { ReadyGpus, type ReadyGpusOptions } from './ready-gpus.ts';
import { gpuEvidenceRefusals } from './refusals.ts';

/** How an agent judges the GPUs that it uses. */
export type GpuJudgement = Omit<ReadyGpusOptions, 'addresses'>;

export interface AgentGpuOptions {
  readonly machine: MachineOptions;
  /** Whether weights are copied to the GPUs that the engine finds. */
  readonly engine: { readonly gpu?: boolean };
  /** Needed where the machine's GPUs are used. */
  readonly gpus?: GpuJudgement;
}

/**
 * Verifies the GPUs that the agent uses (NA-17). They are closed by `undo`; what fails then is told and ends nothing,
 * because all else is closed by then.
 *
 * @returns undefined where it uses none
 * @throws RefusalError `nvml-engine-unverified`, other `nvml-*`, `nscq-*`, and those of the verification
 */
export async function verifyGpus(
  { machine, engine, gpus }: AgentGpuOptions,
  undo: AsyncDisposableStack,
  tell: (remark: string) => void,
): Promise<ReadyGpus | undefined> {
  const addresses = addressesOfGpus(machine);
  if (addresses === undefined) {
    refuseUnverified(engine);
    return undefined;
  }
  if (gpus === undefined) {
    const facts = { field: 'nvidia-gpu', expected: 'by what GPUs are judged', found: 'nothing' };
    throw gpuEvidenceRefusals.error('nvml-not-judged', facts);
  }
  const ready = await ReadyGpus.verify({ addresses, ...gpus });
  undo.defer(() => closeTelling(ready, tell));
  for (const remark of ready.remarks) tell(remark);
  return ready;
}

/** Weights in the memory of a GPU that nobody verified would be in the open (NA-23). */
function refuseUnverified({ gpu }: AgentGpuOptions['engine']): void {
  if (gpu !== true) return;
  throw gpuEvidenceRefusals.error('nvml-engine-unverified', {
    field: 'engine',
    expected: 'no GPU, or GPUs that the agent verifies',
    found: 'a GPU of which nothing is known',
  });
}

async function closeTelling(gpus: ReadyGpus, tell: (remark: string) => void): Promise<void> {
  try {
    await gpus.close();
  } catch (error) {
    if (!isRefusal(error)) throw error;
    tell(`the ready state of the GPUs was not taken back: ${error.message}`);
  }
}
