/** The GPUs of this machine through NVML, the library of NVIDIA's driver (docs/spec/nvidia-gpu-agent.md). */

import type { ConfidentialComputeState, GpuSystem } from './gpu.ts';
import { NVML_LIBRARY, NvmlLibrary } from './library.ts';
import { NvmlGpu } from './nvml-gpu.ts';
import {
  readConfidentialCompute,
  readText,
  readUnsigned,
  settingsRequest,
  SYSTEM_STATE_BYTES,
  UNSIGNED_BYTES,
} from './structures.ts';

/** A GPU takes some seconds for a report, and a driver that was idle about as long for its initialisation. */
const CALL_SECONDS = 30;

/** NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE */
const DRIVER_VERSION_BYTES = 80;
const DRIVER_VERSION = /^[0-9]{1,5}(?:\.[0-9]{1,5}){1,3}$/;

export interface NvmlOptions {
  /** What the system's loader takes; by default the name under which the driver installs it. */
  readonly library?: string;
  readonly callSeconds?: number;
}

export class NvmlSystem implements GpuSystem {
  readonly address: string;
  readonly driverVersion: string;
  readonly gpus: readonly NvmlGpu[];
  private readonly library: NvmlLibrary;

  private constructor(library: NvmlLibrary, driverVersion: string, gpus: readonly NvmlGpu[]) {
    this.address = library.address;
    this.library = library;
    this.driverVersion = driverVersion;
    this.gpus = gpus;
  }

  /** Initialises the library and finds the GPUs. @throws RefusalError `nvml-*`, `layout-value` */
  static async open(options: NvmlOptions = {}): Promise<NvmlSystem> {
    const { library: path = NVML_LIBRARY, callSeconds = CALL_SECONDS } = options;
    const library = await NvmlLibrary.open(path, callSeconds);
    try {
      const version = await library.fillBuffer('driver version', 'driverVersion', DRIVER_VERSION_BYTES);
      const driverVersion = readText(version, DRIVER_VERSION, 'driver version');
      return new NvmlSystem(library, driverVersion, await NvmlGpu.findAll(library));
    } catch (error) {
      await library.close();
      throw error;
    }
  }

  async confidentialCompute(): Promise<ConfidentialComputeState> {
    const room = new Uint8Array(SYSTEM_STATE_BYTES);
    const state = await this.library.fill('state of confidential computing', 'systemState', room);
    const settings = await this.library.fill('settings', 'settings', settingsRequest());
    return readConfidentialCompute(state, settings);
  }

  async acceptsWork(): Promise<boolean> {
    const memory = new Uint8Array(UNSIGNED_BYTES);
    return readUnsigned(await this.library.fill('ready state', 'readyState', memory), 'ready state', 1) === 1;
  }

  async setAcceptsWork(accepts: boolean): Promise<void> {
    await this.library.call(`ready state ${accepts ? 'on' : 'off'}`, 'setReadyState', accepts ? 1 : 0);
  }

  async close(): Promise<void> {
    await this.library.close();
  }
}
