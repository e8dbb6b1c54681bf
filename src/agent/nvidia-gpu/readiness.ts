/** What doctor says of the GPUs of this machine: driver, mode, ready state and fabric, each tried on its own. */

import type { GpuSystem } from '../../../native/nvml/gpu.ts';
import { NvmlSystem } from '../../../native/nvml/nvml.ts';
import { examined, missing, ready, remark, type Finding, type Found } from '../finding.ts';
import { gpuStateRefusals } from './refusals.ts';
import { requireConfidential } from './machine.ts';
import { openGpuSystem } from './systems.ts';

/**
 * @param address of GPUs; comes from the operator. Where it is `auto` nobody has asked for GPUs, and an agent can do
 *   without what is missing.
 */
export async function examineGpus(address: string): Promise<readonly Finding[]> {
  const findings = await findingsOf(address);
  if (address !== 'auto') return findings;
  return findings.map((each) => (each.readiness === 'missing' ? { ...each, readiness: 'remark' } : each));
}

async function findingsOf(address: string): Promise<readonly Finding[]> {
  const opened: GpuSystem[] = [];
  const driver = await examined(async () => {
    const system = await openGpuSystem(address);
    opened.push(system);
    return examineDriver(system);
  });
  const findings: Finding[] = [{ what: 'GPU driver', ...driver }];
  for (const system of opened) {
    findings.push(...(await examineSystem(system)));
    await system.close();
  }
  return findings;
}

async function examineSystem(system: GpuSystem): Promise<readonly Finding[]> {
  const examinations: readonly (readonly [string, () => Found | Promise<Found>])[] = [
    ['GPU mode', () => examineMode(system)],
    ['GPU ready state', () => examineReadyState(system)],
    ['GPU fabric', () => examineFabric(system)],
  ];
  const findings: Finding[] = [];
  for (const [what, examine] of examinations) findings.push({ what, ...(await examined(examine)) });
  return findings;
}

function examineDriver(system: GpuSystem): Found {
  const { driverVersion, gpus } = system;
  const architectures =
    system instanceof NvmlSystem ? system.gpus.map((gpu) => gpu.architecture) : ['simulated'];
  const kinds = [...new Set(architectures)].join(', ');
  return ready(`${driverVersion}, ${gpus.length} GPUs${kinds === '' ? '' : ` (${kinds})`}`);
}

async function examineMode(system: GpuSystem): Promise<Found> {
  const state = await system.confidentialCompute();
  requireConfidential(system, state);
  return ready(`confidential computing on, dev-tools mode off, several GPUs: ${state.multiGpuMode}`);
}

async function examineReadyState(system: GpuSystem): Promise<Found> {
  if (!(await system.acceptsWork())) return ready('off, until an agent has verified the GPUs');
  return remark(
    'on, although no agent has verified the GPUs',
    gpuStateRefusals.codes['nvml-ready-before'].hint,
  );
}

/** GPUs that hang together by switches compute nothing before the fabric manager has joined them. */
async function examineFabric(system: GpuSystem): Promise<Found> {
  if (!(system instanceof NvmlSystem)) return ready('none: simulated GPUs have no fabric');
  const found: string[] = [];
  for (const gpu of system.gpus) {
    const { state, status } = await gpu.fabric();
    found.push(state === 'completed' && status !== 0 ? `failed with ${status}` : state);
  }
  const states = [...new Set(found)];
  if (states.every((state) => state === 'completed' || state === 'not-supported')) {
    return ready(states.join(', ') || 'none');
  }
  return missing(states.join(', '), 'Start NVIDIA’s fabric manager, and look into its log.');
}
