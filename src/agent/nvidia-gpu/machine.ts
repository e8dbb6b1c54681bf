/** All devices of NVIDIA in this machine, opened together. */

import { toHex } from '../../../attestation/core/bytes.ts';
import type { ConfidentialComputeState, GpuSystem, SwitchSystem } from '../../../native/nvml/gpu.ts';
import type { DeviceAttester } from '../evidence.ts';
import { NVIDIA_CLASSES, NvidiaAttester } from './attester.ts';
import { gpuEvidenceRefusals, gpuStateRefusals } from './refusals.ts';
import { openGpuSystem, openSwitchSystem, type NvidiaAddresses } from './systems.ts';

export class NvidiaMachine {
  /** GPUs in the driver's order, then switches. */
  readonly attesters: readonly NvidiaAttester[];
  readonly gpus: GpuSystem;
  private readonly switches: SwitchSystem | undefined;

  private constructor(
    gpus: GpuSystem,
    switches: SwitchSystem | undefined,
    attesters: readonly NvidiaAttester[],
  ) {
    this.gpus = gpus;
    this.switches = switches;
    this.attesters = attesters;
  }

  /**
   * Opens a machine whose driver says that it is confidential, and reads who its devices are.
   *
   * @throws RefusalError `nvml-*`, `nscq-*`, and what reading certificates throws; nothing stays open then
   */
  static async open(addresses: NvidiaAddresses): Promise<NvidiaMachine> {
    await using undo = new AsyncDisposableStack();
    const gpus = await openGpuSystem(addresses.gpus);
    undo.defer(() => gpus.close());
    requireConfidential(gpus, await gpus.confidentialCompute());
    const switches = await openSwitchSystem(addresses.switches);
    undo.defer(() => switches?.close());
    const attesters: NvidiaAttester[] = [];
    for (const device of gpus.gpus) attesters.push(await NvidiaAttester.open('gpu', device));
    for (const device of switches?.switches ?? [])
      attesters.push(await NvidiaAttester.open('switch', device));
    requireDistinct(attesters);
    undo.move();
    return new NvidiaMachine(gpus, switches, attesters);
  }

  /** The devices by class and identity: what must not change while a model runs. */
  get inventory(): string {
    return inventoryOf(this.attesters);
  }

  async close(): Promise<void> {
    try {
      await this.switches?.close();
    } finally {
      await this.gpus.close();
    }
  }
}

/** Class and identity of each device of NVIDIA, whatever their order; other devices are left out. */
export function inventoryOf(devices: readonly Pick<DeviceAttester, 'deviceClass' | 'identity'>[]): string {
  const classes: readonly string[] = Object.values(NVIDIA_CLASSES);
  return devices
    .filter(({ deviceClass }) => classes.includes(deviceClass))
    .map(({ deviceClass, identity }) => `${deviceClass}:${toHex(identity)}`)
    .sort()
    .join(' ');
}

/** NA-9, NA-10. @throws RefusalError `nvml-gpu-missing`, `nvml-confidential-off`, `nvml-dev-tools` */
export function requireConfidential(
  { address, gpus }: GpuSystem,
  { environment, enabled, devTools }: ConfidentialComputeState,
): void {
  if (gpus.length === 0) {
    throw gpuStateRefusals.error('nvml-gpu-missing', { field: address, expected: 'a GPU', found: 'none' });
  }
  if (!enabled || environment !== 'production') {
    throw gpuStateRefusals.error('nvml-confidential-off', {
      field: address,
      expected: 'confidential computing on, in the environment production',
      found: `${enabled ? 'on' : 'off'}, in the environment ${environment}`,
    });
  }
  if (devTools) {
    throw gpuStateRefusals.error('nvml-dev-tools', {
      field: address,
      expected: 'dev-tools mode off',
      found: 'on',
    });
  }
}

/** NA-11. */
function requireDistinct(attesters: readonly NvidiaAttester[]): void {
  const names = new Map<string, string>();
  for (const { identity, name } of attesters) {
    const other = names.get(toHex(identity));
    if (other !== undefined) {
      throw gpuEvidenceRefusals.error('nvml-gpu-twice', {
        field: name,
        expected: `another identity than that of ${other}`,
        found: toHex(identity),
      });
    }
    names.set(toHex(identity), name);
  }
}
