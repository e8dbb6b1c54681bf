/**
 * A simulated machine with GPUs and NVSwitches in a folder: keys and certificates of each, and reports that lack only
 * nonce and signature. Whoever has the folder can sign anything, as nobody can on real hardware.
 */

import { createPrivateKey, randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { z } from 'zod';

import { fromBase64, toBase64 } from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import { readReport, writeReport, type ReportKind } from '../../../attestation/nvidia-gpu/spdm.ts';
import type { ConfidentialComputeState, GpuSystem, SwitchSystem } from '../../../native/nvml/gpu.ts';
import { readCanonicalFile } from '../../platform/canonical-file.ts';
import { writeFileDurably } from '../../platform/files.ts';
import { readShape } from '../../platform/shape.ts';
import { SIMULATED_CHIPS, type SimulatedNvidia } from './nvidia-authority.ts';
import {
  makeGpu,
  makeSwitch,
  SimulatedNvidiaDevice,
  type SimulatedGpu,
  type SimulatedSwitch,
} from './nvidia-device.ts';

const MACHINE_FILE = 'nvidia-machine.json';
/** Sixteen GPUs and sixteen switches have less than half of it. */
const MAX_MACHINE_BYTES = 1024 * 1024;

const deviceSchema = z.strictObject({
  name: z.string(),
  chip: z.enum(SIMULATED_CHIPS),
  /** PKCS #8 of the leaf. */
  key: z.string(),
  /** Leaf to root, DER. */
  chain: z.array(z.string()),
  /** A report whose nonces and signature do not count. */
  template: z.string(),
});

const stateSchema = z.strictObject({
  environment: z.enum(['unavailable', 'simulation', 'production']),
  enabled: z.boolean(),
  devTools: z.boolean(),
  multiGpuMode: z.enum(['none', 'protected-pcie', 'nvlink-encryption']),
});

const machineSchema = z.strictObject({
  version: z.literal(1),
  driverVersion: z.string(),
  state: stateSchema,
  /** Whether the GPUs take work when the machine is opened. */
  acceptsWork: z.boolean(),
  devices: z.array(deviceSchema),
});

/** What a driver says besides what the GPUs sign. */
export interface DriverState {
  readonly driverVersion?: string;
  readonly state?: Partial<ConfidentialComputeState>;
  readonly acceptsWork?: boolean;
}

/** A driver in confidential mode, before anybody let the GPUs work. */
const ORDINARY_STATE: ConfidentialComputeState = {
  environment: 'production',
  enabled: true,
  devTools: false,
  multiGpuMode: 'none',
};

/**
 * Writes a machine of these devices.
 *
 * @param folder is made if it is not there; a machine that lies there already is replaced
 * @throws RefusalError `file-*`
 */
export async function saveSimulatedMachine(
  folder: string,
  devices: readonly SimulatedNvidiaDevice[],
  driver: DriverState = {},
): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const document = {
    version: 1,
    driverVersion: driver.driverVersion ?? '590.48.01',
    state: { ...ORDINARY_STATE, ...driver.state },
    acceptsWork: driver.acceptsWork ?? false,
    devices: devices.map(({ name, chip, key, chain, template }) => ({
      name,
      chip,
      key: toBase64(key.export({ type: 'pkcs8', format: 'der' })),
      chain: chain.map(toBase64),
      template: toBase64(writeReport(template)),
    })),
  };
  await writeFileDurably(join(folder, MACHINE_FILE), encodeCanonicalJson(document), 0o600);
}

/** Devices in protected PCIe mode that know each other: every GPU is linked to every switch, and no other device. */
export async function makeProtectedPcie(
  nvidia: SimulatedNvidia,
  gpus: readonly SimulatedGpu[],
  switches: readonly SimulatedSwitch[],
): Promise<readonly SimulatedNvidiaDevice[]> {
  const gpuPdis = gpus.map(({ pdi }) => pdi ?? randomPdi());
  const switchPdis = switches.map(({ pdi }) => pdi ?? randomPdi());
  const links = Array.from({ length: NVLINKS }, (_, i) => switchPdis[i % switchPdis.length] ?? UNUSED);
  const mode = { protectedPcie: 'enabled', featureFlag: 'ppcie', switchPdis: links } as const;
  const ports = Array.from({ length: SWITCH_GPUS }, (_, i) => gpuPdis[i] ?? UNUSED);
  return await Promise.all([
    ...gpus.map((gpu, i) =>
      makeGpu(nvidia, { ...gpu, pdi: gpuPdis[i] ?? UNUSED, fields: { ...mode, ...gpu.fields } }),
    ),
    ...switches.map((nvswitch, i) =>
      makeSwitch(nvidia, {
        ...nvswitch,
        pdi: switchPdis[i] ?? UNUSED,
        fields: { positionId: i, gpuPdis: ports, ...nvswitch.fields },
      }),
    ),
  ]);
}

/** NVLinks of a Hopper GPU. */
const NVLINKS = 18;
const SWITCH_GPUS = 8;
const UNUSED = new Uint8Array(8);

function randomPdi(): Uint8Array {
  return new Uint8Array(randomBytes(UNUSED.length));
}

/** The GPUs of a folder. Whether they take work is remembered as long as the system is open. */
export class SimulatedGpuSystem implements GpuSystem {
  readonly address: string;
  readonly driverVersion: string;
  readonly gpus: readonly SimulatedNvidiaDevice[];
  private readonly state: ConfidentialComputeState;
  private isReady: boolean;

  private constructor(folder: string, machine: SavedMachine) {
    this.address = `simulated:${folder}`;
    this.driverVersion = machine.driverVersion;
    this.gpus = devicesOf(machine, 'gpu');
    this.state = machine.state;
    this.isReady = machine.acceptsWork;
  }

  /** @throws RefusalError `file-*`, `json-*`, `shape-mismatch`, `base64-malformed`, `layout-*`, `gpu-report-*` */
  static async open(folder: string): Promise<SimulatedGpuSystem> {
    return new SimulatedGpuSystem(folder, await readMachine(folder));
  }

  confidentialCompute(): Promise<ConfidentialComputeState> {
    return Promise.resolve(this.state);
  }

  acceptsWork(): Promise<boolean> {
    return Promise.resolve(this.isReady);
  }

  setAcceptsWork(accepts: boolean): Promise<void> {
    this.isReady = accepts;
    return Promise.resolve();
  }

  /** Nothing is kept open. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}

/** The NVSwitches of a folder. */
export class SimulatedSwitchSystem implements SwitchSystem {
  readonly address: string;
  readonly switches: readonly SimulatedNvidiaDevice[];

  private constructor(folder: string, machine: SavedMachine) {
    this.address = `simulated:${folder}`;
    this.switches = devicesOf(machine, 'switch');
  }

  /** @throws RefusalError as {@link SimulatedGpuSystem.open} */
  static async open(folder: string): Promise<SimulatedSwitchSystem> {
    return new SimulatedSwitchSystem(folder, await readMachine(folder));
  }

  /** Nothing is kept open. */
  close(): Promise<void> {
    return Promise.resolve();
  }
}

type SavedMachine = z.infer<typeof machineSchema>;

async function readMachine(folder: string): Promise<SavedMachine> {
  const path = join(folder, MACHINE_FILE);
  return readShape(machineSchema, await readCanonicalFile(path, MAX_MACHINE_BYTES), path);
}

function devicesOf({ devices }: SavedMachine, wanted: ReportKind): readonly SimulatedNvidiaDevice[] {
  return devices
    .filter(({ chip }) => (chip === 'LS10' ? 'switch' : 'gpu') === wanted)
    .map(({ name, chip, key, chain, template }) => {
      const bytes = fromBase64(template, 'template');
      return new SimulatedNvidiaDevice({
        name,
        chip,
        key: createPrivateKey({ key: Buffer.from(key, 'base64'), type: 'pkcs8', format: 'der' }),
        chain: chain.map((certificate) => fromBase64(certificate, 'chain')),
        template: readReport(bytes, wanted),
      });
    });
}
