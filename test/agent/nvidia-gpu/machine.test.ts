import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { equalBytes } from '../../../attestation/core/bytes.ts';
import { readGpuEvidence, readSwitchEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import { addressesOfGpus, machineName, openMachine } from '../../../src/agent/machine.ts';
import { NvidiaMachine } from '../../../src/agent/nvidia-gpu/machine.ts';
import { openGpuSystem, openSwitchSystem } from '../../../src/agent/nvidia-gpu/systems.ts';
import { SimulatedNvidia } from '../../../src/agent/simulated/nvidia-authority.ts';
import {
  makeGpu,
  makeSwitch,
  type SimulatedNvidiaDevice,
} from '../../../src/agent/simulated/nvidia-device.ts';
import { saveSimulatedMachine } from '../../../src/agent/simulated/nvidia-machine.ts';
import { systemClock } from '../../../src/platform/clock.ts';
import { behindLibrary, buildFakeNvml, type FakeGpu, type FakeNvml } from '../../support/fake-nvml.ts';
import { buildFakeNscq, type FakeNscq } from '../../support/fake-nscq.ts';
import { missingCompiler } from '../../support/programs.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';

const NONCE = new Uint8Array(32).map((_byte, i) => i + 7);

const missing = missingCompiler();

describe.skipIf(missing.length > 0)(`devices of NVIDIA (missing: ${missing.join(', ') || 'nothing'})`, () => {
  let folder: string;
  let nvml: FakeNvml;
  let nscq: FakeNscq;
  let devices: readonly [SimulatedNvidiaDevice, SimulatedNvidiaDevice, SimulatedNvidiaDevice];
  let gpus: readonly [FakeGpu, FakeGpu];
  let nvswitch: FakeGpu;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-nvidia-'));
    [nvml, nscq] = await Promise.all([buildFakeNvml(folder), buildFakeNscq(folder)]);
    const nvidia = await SimulatedNvidia.create(systemClock.posixSeconds());
    devices = [await makeGpu(nvidia), await makeGpu(nvidia, { chip: 'GB100' }), await makeSwitch(nvidia)];
    gpus = [await behindLibrary(devices[0]), await behindLibrary(devices[1])];
    nvswitch = await behindLibrary(devices[2]);
  });
  afterEach(() => {
    expect([nvml.get('initialised'), nscq.sessions()]).toEqual([0, 0]);
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  function open(switches = 'none'): Promise<NvidiaMachine> {
    return NvidiaMachine.open({ gpus: `nvml:${nvml.library}`, switches });
  }

  const refused = (): Promise<string> => refusalCodeAsync(() => open());

  it('NA-11, NA-13, NA-16: collects evidence of every GPU and switch, as a verifier reads it', async () => {
    nvml.reset(gpus);
    nscq.reset([nvswitch]);
    const machine = await open(`nscq:${nscq.library}`);
    const classes = machine.attesters.map(({ deviceClass }) => deviceClass);
    expect(classes).toEqual(['nvidia-gpu', 'nvidia-gpu', 'nvswitch']);
    for (const [i, attester] of machine.attesters.entries()) {
      const evidence = await attester.collect(undefined, NONCE);
      const read = attester.deviceClass === 'nvswitch' ? readSwitchEvidence : readGpuEvidence;
      const { report, certificates } = read(evidence, 'evidence');
      expect(report.message.request.nonce).toEqual(NONCE);
      expect(certificates).toEqual(devices[i]!.chain);
    }
    expect(new Set(machine.attesters.map(({ identity }) => Buffer.from(identity).toString('hex'))).size).toBe(
      3,
    );
    await machine.close();
  });

  it('NA-11: names a device by its chain, whichever way leads to it', async () => {
    nvml.reset(gpus);
    const machine = await open();
    const place = join(folder, 'simulated');
    await saveSimulatedMachine(place, devices);
    const simulated = await NvidiaMachine.open({
      gpus: `simulated:${place}`,
      switches: `simulated:${place}`,
    });
    expect(simulated.attesters).toHaveLength(3);
    for (const [i, { identity }] of machine.attesters.entries()) {
      expect(equalBytes(identity, simulated.attesters[i]!.identity)).toBe(true);
    }
    expect(simulated.inventory).toContain(machine.inventory.split(' ')[0]);
    await Promise.all([machine.close(), simulated.close()]);
  });

  it.each([
    ['confidential computing is off', 'enabled', 0, 'nvml-confidential-off'],
    ['the environment is a simulation', 'environment', 1, 'nvml-confidential-off'],
    ['there is no environment', 'environment', 0, 'nvml-confidential-off'],
    ['dev-tools mode is on', 'devTools', 1, 'nvml-dev-tools'],
  ] as const)('NA-9: refuses where %s, before a report is asked for', async (_name, value, number, code) => {
    nvml.reset(gpus);
    nvml.set(value, number);
    expect(await refused()).toBe(code);
    expect(nvml.get('calls:nvmlDeviceGetConfComputeGpuAttestationReport')).toBe(0);
  });

  it('NA-10: refuses a machine without a GPU', async () => {
    nvml.reset([]);
    expect(await refused()).toBe('nvml-gpu-missing');
  });

  it('NA-11: refuses one GPU that is shown twice', async () => {
    nvml.reset([gpus[0], gpus[1], gpus[0]]);
    expect(await refused()).toBe('nvml-gpu-twice');
  });

  it('NA-4: refuses a chain that names nobody', async () => {
    const chain = gpus[0].chain.subarray(0, Buffer.from(gpus[0].chain).indexOf('-----END') + 26);
    nvml.reset([{ ...gpus[0], chain }]);
    expect(await refused()).toBe('gpu-evidence-unnamed');
  });

  it('NA-14: sends no report over another nonce, and none that a verifier cannot read', async () => {
    const other = gpus[0].report(new Uint8Array(32).fill(9));
    for (const [report, code] of [
      [other, 'nvml-nonce'],
      [other.subarray(0, -1), 'layout-truncated'],
      [nvswitch.report(NONCE), 'gpu-report-blocks'],
    ] as const) {
      nvml.reset([{ ...gpus[0], report: () => report }]);
      const machine = await open();
      expect(await refusalCodeAsync(() => machine.attesters[0]!.collect(undefined, NONCE))).toBe(code);
      await machine.close();
    }
  });

  it('NA-15: sends no evidence of another device than the one that was opened', async () => {
    nvml.reset([gpus[0]]);
    const machine = await open();
    nvml.replace(0, gpus[1]);
    expect(await refusalCodeAsync(() => machine.attesters[0]!.collect(undefined, NONCE))).toBe(
      'nvml-gpu-changed',
    );
    await machine.close();
  });

  it('is part of the machine where somebody names it or writes its address, and only there', async () => {
    const place = join(folder, 'machine');
    await saveSimulatedMachine(place, devices.slice(0, 1));
    const address = `simulated:${place}`;
    const tpm = { address: 'swtpm:path=/nowhere' };
    const sevSnp = { address: 'auto' };
    const nvidia = { gpus: address, switches: 'none' };
    const machine = await openMachine({ devices: ['nvidia-gpu'], tpm, sevSnp, nvidia });
    expect(machine.attesters.map(machineName)).toEqual([expect.stringMatching(/^nvidia-gpu:[0-9a-f]{64}$/)]);
    await machine.close();
    expect(addressesOfGpus({ tpm, sevSnp, nvidia })).toBe(nvidia);
    expect(addressesOfGpus({ devices: ['sev-snp'], tpm, sevSnp, nvidia })).toBeUndefined();
    expect(addressesOfGpus({ tpm, sevSnp })).toBeUndefined();
    expect(addressesOfGpus({ devices: ['nvidia-gpu'], tpm, sevSnp })).toEqual({
      gpus: 'auto',
      switches: 'none',
    });
  });

  it('NA-2: switches that cannot be reached leave nothing open', async () => {
    nvml.reset(gpus);
    nscq.reset([nvswitch]);
    nscq.fail('nscq_session_create', -7);
    expect(await refusalCodeAsync(() => open(`nscq:${nscq.library}`))).toBe('nscq-call-failed');
  });

  it.each(['', 'NVML', 'nvml:', 'nvml:libnvidia-ml.so.1', 'nvml:./x.so', 'none', 'nscq', '/usr/lib/x.so'])(
    'NA-1: refuses %j as the address of GPUs',
    async (address) => {
      expect(await refusalCodeAsync(() => openGpuSystem(address))).toBe('nvml-address');
    },
  );

  it.each(['', 'auto', 'nvml', 'nscq:', 'nscq:libnvidia-nscq.so.2', 'NONE'])(
    'NA-1: refuses %j as the address of switches',
    async (address) => {
      expect(await refusalCodeAsync(() => openSwitchSystem(address))).toBe('nscq-address');
    },
  );

  it('NA-1: auto leads to the driver alone', async () => {
    // No driver is installed where the tests run; where one is, its GPUs are no simulation.
    const opened = await openGpuSystem('auto').then(
      async (system) => {
        await system.close();
        return system.address;
      },
      (error: unknown) => (error as { refusal: { field: string } }).refusal.field,
    );
    expect(opened).toMatch(/libnvidia-ml\.so\.1/);
  });
});
