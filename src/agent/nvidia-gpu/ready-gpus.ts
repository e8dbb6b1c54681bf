/**
 * The ready state of this machine's GPUs (docs/spec/nvidia-gpu-agent.md, section 4): verified first, then opened for
 * work, and closed again when the model goes.
 */

import type { DeviceAttester } from '../evidence.ts';
import { inventoryOf, NvidiaMachine } from './machine.ts';
import { verifyOwnDevices, type OwnVerification } from './own-verification.ts';
import { gpuEvidenceRefusals, gpuStateRefusals } from './refusals.ts';
import type { NvidiaAddresses } from './systems.ts';

export interface ReadyGpusOptions {
  readonly addresses: NvidiaAddresses;
  readonly verification: OwnVerification;
  /** Why GPUs that take work already are accepted (NA-18); they are refused without it. */
  readonly acceptReadyBecause?: string;
}

export class ReadyGpus {
  /** What an operator should know. */
  readonly remarks: readonly string[];
  private readonly addresses: NvidiaAddresses;
  private readonly machine: NvidiaMachine;
  /** Whether the ready state is somebody else's, who also takes it back. */
  private readonly isForeign: boolean;
  private isSet = false;

  private constructor(options: ReadyGpusOptions, machine: NvidiaMachine, remarks: readonly string[]) {
    this.addresses = options.addresses;
    this.machine = machine;
    this.remarks = remarks;
    this.isForeign = remarks.length > 0;
  }

  /**
   * Verifies all GPUs and switches of this machine. They are not opened yet.
   *
   * @throws RefusalError `nvml-*`, `nscq-*`, and those of the verification
   */
  static async verify(options: ReadyGpusOptions): Promise<ReadyGpus> {
    await using undo = new AsyncDisposableStack();
    const machine = await NvidiaMachine.open(options.addresses);
    undo.defer(() => machine.close());
    const remarks = await remarksOnReadiness(machine, options.acceptReadyBecause);
    await verifyOwnDevices(machine.attesters, options.verification);
    undo.move();
    return new ReadyGpus(options, machine, remarks);
  }

  /** Lets the GPUs work (NA-19). @throws RefusalError `nvml-gpu-changed`, `nvml-ready-refused`, `nvml-*` */
  async open(): Promise<void> {
    const present = await NvidiaMachine.open(this.addresses);
    try {
      this.requireSame(present.attesters);
    } finally {
      await present.close();
    }
    if (this.isForeign) return;
    const { gpus } = this.machine;
    this.isSet = true;
    await gpus.setAcceptsWork(true);
    if (!(await gpus.acceptsWork())) throw refused(gpus.address, 'on', 'off');
  }

  /** NA-21. @param attesters of a machine; others than those of NVIDIA do not matter. @throws RefusalError `nvml-gpu-changed` */
  requireSame(attesters: readonly DeviceAttester[]): void {
    const expected = this.machine.inventory;
    const found = inventoryOf(attesters);
    if (found === expected) return;
    throw gpuEvidenceRefusals.error('nvml-gpu-changed', {
      field: this.machine.gpus.address,
      expected,
      found: found === '' ? 'none' : found,
    });
  }

  /** Takes the ready state back, if it is this agent's (NA-20). @throws RefusalError `nvml-*`, when all is closed */
  async close(): Promise<void> {
    try {
      await this.takeBack();
    } finally {
      await this.machine.close();
    }
  }

  private async takeBack(): Promise<void> {
    if (!this.isSet) return;
    this.isSet = false;
    const { gpus } = this.machine;
    if (!(await gpus.acceptsWork())) return;
    await gpus.setAcceptsWork(false);
    if (await gpus.acceptsWork()) throw refused(gpus.address, 'off', 'on');
  }
}

/** NA-18. */
async function remarksOnReadiness({ gpus }: NvidiaMachine, because?: string): Promise<readonly string[]> {
  if (!(await gpus.acceptsWork())) return [];
  if (because !== undefined) {
    return [`the GPUs took work before this agent verified them; accepted because ${because}`];
  }
  throw gpuStateRefusals.error('nvml-ready-before', {
    field: `${gpus.address} ready state`,
    expected: 'off before the verification',
    found: 'on',
  });
}

function refused(address: string, expected: string, found: string): Error {
  return gpuStateRefusals.error('nvml-ready-refused', { field: `${address} ready state`, expected, found });
}
