/** Opens the GPUs and NVSwitches that an address names (docs/spec/nvidia-gpu-agent.md, section 1). */

import { excerpt } from '../../../attestation/core/bytes.ts';
import type { GpuSystem, SwitchSystem } from '../../../native/nvml/gpu.ts';
import { NvmlSystem } from '../../../native/nvml/nvml.ts';
import { nvmlAddressRefusals } from '../../../native/nvml/refusals.ts';
import { NscqSystem } from '../../../native/nscq/nscq.ts';
import { nscqAddressRefusals } from '../../../native/nscq/refusals.ts';
import { SimulatedGpuSystem, SimulatedSwitchSystem } from '../simulated/nvidia-machine.ts';

/** Where the devices of NVIDIA are; both come from the operator. */
export interface NvidiaAddresses {
  /** `auto`, `nvml`, `nvml:PATH` or `simulated:FOLDER`. */
  readonly gpus: string;
  /** `none`, `nscq`, `nscq:PATH` or `simulated:FOLDER`. */
  readonly switches: string;
}

const SIMULATED = 'simulated:';

/** @throws RefusalError `nvml-*`, `layout-value`; for simulated GPUs `file-*` and what their file can be */
export async function openGpuSystem(address: string): Promise<GpuSystem> {
  if (address.startsWith(SIMULATED)) return await SimulatedGpuSystem.open(address.slice(SIMULATED.length));
  if (address === 'auto' || address === 'nvml') return await NvmlSystem.open();
  const library = pathAfter('nvml:', address);
  if (library !== undefined) return await NvmlSystem.open({ library });
  throw nvmlAddressRefusals.error('nvml-address', {
    field: 'nvidia-gpu',
    expected: 'auto, nvml, nvml: and an absolute path, or simulated: and a folder',
    found: excerpt(address),
  });
}

/**
 * @returns undefined where the operator says that there are none
 * @throws RefusalError `nscq-*`; for simulated switches `file-*` and what their file can be
 */
export async function openSwitchSystem(address: string): Promise<SwitchSystem | undefined> {
  if (address === 'none') return undefined;
  if (address.startsWith(SIMULATED)) return await SimulatedSwitchSystem.open(address.slice(SIMULATED.length));
  if (address === 'nscq') return await NscqSystem.open();
  const library = pathAfter('nscq:', address);
  if (library !== undefined) return await NscqSystem.open({ library });
  throw nscqAddressRefusals.error('nscq-address', {
    field: 'nvswitch',
    expected: 'none, nscq, nscq: and an absolute path, or simulated: and a folder',
    found: excerpt(address),
  });
}

function pathAfter(prefix: string, address: string): string | undefined {
  const path = address.slice(prefix.length);
  return address.startsWith(prefix) && path.startsWith('/') ? path : undefined;
}
