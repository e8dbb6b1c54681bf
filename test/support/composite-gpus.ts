/** GPUs and switches of a simulated NVIDIA for the matrix of machines, beside the world of composite-world.ts. */

import { sha256 } from '@noble/hashes/sha2.js';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { ClassInputs } from '../../attestation/core/evidence.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import type { DeviceAttester } from '../../src/agent/evidence.ts';
import { makeGpu, makeSwitch, type SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import { makeProtectedPcie } from '../../src/agent/simulated/nvidia-machine.ts';
import { SimulatedVendor } from '../../src/agent/simulated/nvidia-vendor.ts';
import { real } from './composite-world.ts';
import { evidenceOf, GPU_POLICY, manifestReferences, SWITCH_POLICY } from './simulated-gpu.ts';

const MPT = { chip: 'GB100', fields: { featureFlag: 'mpt' } } as const;

/** Two GPUs and two switches that know each other, and no other device. */
export interface ProtectedMachine {
  readonly gpus: readonly DeviceAttester[];
  readonly switches: readonly DeviceAttester[];
}

export interface GpuWorld {
  /** Hopper, one for each guest. */
  readonly single: readonly [DeviceAttester, DeviceAttester];
  /** Blackwell, several in one guest; the last has another driver. */
  readonly several: readonly [DeviceAttester, DeviceAttester, DeviceAttester];
  readonly protectedPcie: readonly [ProtectedMachine, ProtectedMachine];
  /** A switch that names no GPU of this world. */
  readonly looseSwitch: DeviceAttester;
  readonly classes: ReadonlyMap<string, ClassInputs>;
}

/** @param time POSIX seconds; all certificates and answers are good then */
export async function makeGpuWorld(time: number): Promise<GpuWorld> {
  const vendor = await SimulatedVendor.create(time);
  const { devices } = vendor;
  const single = [await makeGpu(devices), await makeGpu(devices)];
  const others = { ...MPT, fields: { ...MPT.fields, driverVersion: '590.48.02' } };
  const several = [await makeGpu(devices, MPT), await makeGpu(devices, MPT), await makeGpu(devices, others)];
  const machines = [
    await makeProtectedPcie(devices, [{}, {}], [{}, {}]),
    await makeProtectedPcie(devices, [{}, {}], [{}, {}]),
  ];
  const looseSwitch = await makeSwitch(devices);
  const all = [...single, ...several, ...machines.flat(), looseSwitch];
  return {
    single: (await attestersOf(single)) as unknown as GpuWorld['single'],
    several: (await attestersOf(several)) as unknown as GpuWorld['several'],
    protectedPcie: (await Promise.all(
      machines.map(protectedMachine),
    )) as unknown as GpuWorld['protectedPcie'],
    looseSwitch: await attesterOf(looseSwitch),
    classes: new Map([
      ['nvidia-gpu', await classInputs(vendor, all, GPU_POLICY)],
      ['nvswitch', await classInputs(vendor, all, SWITCH_POLICY)],
    ]),
  };
}

async function protectedMachine(devices: readonly SimulatedNvidiaDevice[]): Promise<ProtectedMachine> {
  return {
    gpus: await attestersOf(devices.filter(({ chip }) => chip !== 'LS10')),
    switches: await attestersOf(devices.filter(({ chip }) => chip === 'LS10')),
  };
}

function attestersOf(devices: readonly SimulatedNvidiaDevice[]): Promise<readonly DeviceAttester[]> {
  return Promise.all(devices.map(attesterOf));
}

async function attesterOf(device: SimulatedNvidiaDevice): Promise<DeviceAttester> {
  const deviceClass = device.chip === 'LS10' ? nvswitchDeviceClass : nvidiaGpuDeviceClass;
  const parsed = deviceClass.parse(await evidenceOf(device, sha256(new Uint8Array())), 'evidence');
  return {
    deviceClass: deviceClass.name,
    bindsCompanions: deviceClass.bindsCompanions,
    identity: deviceClass.identify(parsed as never),
    collect: (_request, deviceValue) => evidenceOf(device, deviceValue),
  };
}

async function classInputs(
  vendor: SimulatedVendor,
  devices: readonly SimulatedNvidiaDevice[],
  policy: JsonValue,
): Promise<ClassInputs> {
  const collateral = await Promise.all(devices.map((device) => vendor.collateralFor(device)));
  const isSwitch = policy === SWITCH_POLICY;
  const own = devices.filter(({ chip }) => (chip === 'LS10') === isSwitch);
  const references = own.flatMap((device) => manifestReferences(vendor, device));
  return real({
    anchors: vendor.anchors,
    collateral: new Map(collateral.flatMap((one) => [...one])),
    referenceValues: [...new Map(references.map((one) => [one['name'], one])).values()],
    policy,
  });
}
