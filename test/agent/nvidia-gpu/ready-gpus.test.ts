import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';

import { NvidiaMachine } from '../../../src/agent/nvidia-gpu/machine.ts';
import type { OwnVerification } from '../../../src/agent/nvidia-gpu/own-verification.ts';
import { verifyGpus, type AgentGpuOptions } from '../../../src/agent/nvidia-gpu/agent-gpus.ts';
import type { MachineOptions } from '../../../src/agent/machine.ts';
import { ReadyGpus } from '../../../src/agent/nvidia-gpu/ready-gpus.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../../src/agent/simulated/nvidia-device.ts';
import { makeProtectedPcie } from '../../../src/agent/simulated/nvidia-machine.ts';
import type { SimulatedVendor } from '../../../src/agent/simulated/nvidia-vendor.ts';
import { behindLibrary, buildFakeNvml, type FakeGpu, type FakeNvml } from '../../support/fake-nvml.ts';
import { buildFakeNscq, type FakeNscq } from '../../support/fake-nscq.ts';
import { missingCompiler } from '../../support/programs.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import {
  GPU_POLICY,
  manifestReferences,
  SIMULATED_AT,
  simulatedNvidia,
  SWITCH_POLICY,
} from '../../support/simulated-gpu.ts';

const SET_READY_STATE = 'calls:nvmlSystemSetConfComputeGpusReadyState';

const missing = missingCompiler();

describe.skipIf(missing.length > 0)(
  `the ready state of GPUs (missing: ${missing.join(', ') || 'nothing'})`,
  () => {
    let folder: string;
    let nvml: FakeNvml;
    let nscq: FakeNscq;
    let vendor: SimulatedVendor;
    let gpu: SimulatedNvidiaDevice;
    let other: SimulatedNvidiaDevice;
    beforeAll(async () => {
      folder = await mkdtemp(join(tmpdir(), 'weightgate-ready-'));
      [nvml, nscq, vendor] = await Promise.all([
        buildFakeNvml(folder),
        buildFakeNscq(folder),
        simulatedNvidia(),
      ]);
      gpu = await makeGpu(vendor.devices);
      other = await makeGpu(vendor.devices);
    });
    afterEach(() => {
      nvml.release();
      expect([nvml.get('initialised'), nscq.sessions()]).toEqual([0, 0]);
    });
    afterAll(() => rm(folder, { recursive: true, force: true }));

    async function verificationOf(devices: readonly SimulatedNvidiaDevice[]): Promise<OwnVerification> {
      const found = await Promise.all(devices.map((device) => vendor.collateralFor(device)));
      const references = (chip: 'gpu' | 'switch'): ReturnType<typeof manifestReferences> =>
        devices
          .filter((device) => (device.chip === 'LS10' ? 'switch' : 'gpu') === chip)
          .flatMap((device) => manifestReferences(vendor, device));
      return {
        anchors: vendor.anchors,
        judgedBy: {
          'nvidia-gpu': { policy: GPU_POLICY, referenceValues: references('gpu') },
          nvswitch: { policy: SWITCH_POLICY, referenceValues: references('switch') },
        },
        collateral: () => Promise.resolve(new Map(found.flatMap((map) => [...map]))),
        time: () => SIMULATED_AT,
      };
    }

    /** The machine has these devices; its operator gave what it takes to verify them. */
    async function machineOf(devices: readonly SimulatedNvidiaDevice[]): Promise<OwnVerification> {
      const isSwitch = ({ chip }: SimulatedNvidiaDevice): boolean => chip === 'LS10';
      const behind = (some: readonly SimulatedNvidiaDevice[]): Promise<FakeGpu[]> =>
        Promise.all(some.map(behindLibrary));
      nvml.reset(await behind(devices.filter((device) => !isSwitch(device))));
      nscq.reset(await behind(devices.filter(isSwitch)));
      return await verificationOf(devices);
    }

    function verify(
      verification: OwnVerification,
      more: { switches?: string; acceptReadyBecause?: string } = {},
    ): Promise<ReadyGpus> {
      const { switches = 'none', ...rest } = more;
      return ReadyGpus.verify({
        addresses: { gpus: `nvml:${nvml.library}`, switches },
        verification,
        ...rest,
      });
    }

    const refused = (verification: OwnVerification, more: { switches?: string } = {}): Promise<string> =>
      refusalCodeAsync(() => verify(verification, more));

    it('NA-17, NA-19, NA-20: verified, then opened, then taken back', async () => {
      const gpus = await verify(await machineOf([gpu]));
      expect(gpus.remarks).toEqual([]);
      expect([nvml.get('ready'), nvml.get(SET_READY_STATE)]).toEqual([0, 0]);
      await gpus.open();
      expect(nvml.get('ready')).toBe(1);
      await gpus.close();
      expect([nvml.get('ready'), nvml.get(SET_READY_STATE)]).toEqual([0, 2]);
    });

    it('NA-17: opens a protected-PCIe machine when all GPUs and switches hold together', async () => {
      const devices = await makeProtectedPcie(vendor.devices, [{}, {}], [{}, {}]);
      const verification = await machineOf(devices);
      const gpus = await verify(verification, { switches: `nscq:${nscq.library}` });
      await gpus.open();
      expect(nvml.get('ready')).toBe(1);
      await gpus.close();
      expect(nvml.get('ready')).toBe(0);
      expect(await refused(verification)).toBe('gpu-set-switches');
    });

    it('NA-17: none is opened where one of several fails', async () => {
      const [first, second] = await makeProtectedPcie(vendor.devices, [{}, {}], [{}]);
      const verification = await machineOf([first!, second!]);
      const forged = (await behindLibrary(second!)).report;
      nvml.replace(1, {
        ...(await behindLibrary(second!)),
        report: (nonce) => forged(nonce).map((byte, i, all) => (i === all.length - 1 ? byte ^ 1 : byte)),
      });
      expect(await refused(verification)).toBe('gpu-signature');
      expect(nvml.get(SET_READY_STATE)).toBe(0);
    });

    it.each([
      ['the root is another', (each: OwnVerification) => ({ ...each, anchors: [] }), 'path-untrusted'],
      [
        'there are no endorsements',
        (each: OwnVerification) => ({ ...each, collateral: () => Promise.resolve(new Map()) }),
        'ocsp-missing',
      ],
      [
        'nothing is said of the class',
        (each: OwnVerification) => ({ ...each, judgedBy: {} }),
        'nvml-not-judged',
      ],
      [
        'its policy has no such chip',
        (each: OwnVerification) => ({
          ...each,
          judgedBy: { 'nvidia-gpu': { policy: { ...GPU_POLICY, chips: ['GB100'] }, referenceValues: [] } },
        }),
        'gpu-chip-policy',
      ],
    ] as const)('NA-17: is not opened where %s', async (_name, change, code) => {
      const verification = change(await machineOf([gpu]));
      expect(await refused(verification)).toBe(code);
      expect(nvml.get(SET_READY_STATE)).toBe(0);
    });

    it('NA-17: each verification has a nonce of its own', async () => {
      const verification = await machineOf([gpu]);
      const { chain, report } = await behindLibrary(gpu);
      const nonces: string[] = [];
      const note = (nonce: Uint8Array): Uint8Array => {
        nonces.push(Buffer.from(nonce).toString('hex'));
        return report(nonce);
      };
      nvml.replace(0, { chain, report: note });
      for (let i = 0; i < 2; i += 1) await (await verify(verification)).close();
      expect(new Set(nonces).size).toBe(2);
    });

    it('NA-18: GPUs that take work already are refused, unless there is a reason', async () => {
      const verification = await machineOf([gpu]);
      nvml.set('ready', 1);
      expect(await refused(verification)).toBe('nvml-ready-before');
      const gpus = await verify(verification, { acceptReadyBecause: 'the provider opens them at boot' });
      expect(gpus.remarks).toEqual([expect.stringContaining('the provider opens them at boot')]);
      await gpus.open();
      await gpus.close();
      // NA-20: the state is not this agent's to take back.
      expect([nvml.get('ready'), nvml.get(SET_READY_STATE)]).toEqual([1, 0]);
    });

    it('NA-18: a reason does not stand in for the verification', async () => {
      const verification = { ...(await machineOf([gpu])), anchors: [] };
      nvml.set('ready', 1);
      const opening = verify(verification, { acceptReadyBecause: 'the provider opens them at boot' });
      expect(await refusalCodeAsync(() => opening)).toBe('path-untrusted');
    });

    it('NA-19: is not opened for another GPU than the one that was verified', async () => {
      const gpus = await verify(await machineOf([gpu]));
      nvml.replace(0, await behindLibrary(other));
      expect(await refusalCodeAsync(() => gpus.open())).toBe('nvml-gpu-changed');
      expect(nvml.get(SET_READY_STATE)).toBe(0);
      await gpus.close();
    });

    it('NA-19: a driver that keeps its state shows', async () => {
      const gpus = await verify(await machineOf([gpu]));
      nvml.set('deaf', 1);
      expect(await refusalCodeAsync(() => gpus.open())).toBe('nvml-ready-refused');
      await gpus.close();
      expect(nvml.get('ready')).toBe(0);
    });

    it('NA-20: a state that cannot be taken back is told, and all is closed', async () => {
      const gpus = await verify(await machineOf([gpu]));
      await gpus.open();
      nvml.set('deaf', 1);
      expect(await refusalCodeAsync(() => gpus.close())).toBe('nvml-ready-refused');
    });

    it('NA-2, NA-20: a user who may not set the state', async () => {
      const gpus = await verify(await machineOf([gpu]));
      nvml.fail('nvmlSystemSetConfComputeGpusReadyState', 4);
      expect(await refusalCodeAsync(() => gpus.open())).toBe('nvml-not-permitted');
      await gpus.close();
    });

    it('NA-21: a renewal has to come from the same devices', async () => {
      const gpus = await verify(await machineOf([gpu]));
      const addresses = { gpus: `nvml:${nvml.library}`, switches: 'none' };
      const same = await NvidiaMachine.open(addresses);
      gpus.requireSame(same.attesters);
      await same.close();
      nvml.replace(0, await behindLibrary(other));
      const exchanged = await NvidiaMachine.open(addresses);
      expect(() => {
        gpus.requireSame(exchanged.attesters);
      }).toThrow(/nvml-gpu-changed/);
      expect(() => {
        gpus.requireSame([]);
      }).toThrow(/nvml-gpu-changed/);
      await exchanged.close();
      await gpus.close();
    });

    describe('for an agent', () => {
      const machine = (): MachineOptions => ({
        devices: ['nvidia-gpu'],
        tpm: { address: 'swtpm:path=/nowhere' },
        sevSnp: { address: 'auto' },
        nvidia: { gpus: `nvml:${nvml.library}`, switches: 'none' },
      });

      /** Verifies, does something, and closes all; what was told. */
      async function told(
        options: Omit<AgentGpuOptions, 'engine'> & Partial<AgentGpuOptions>,
        use: (gpus: ReadyGpus) => Promise<void>,
      ): Promise<string[]> {
        const remarks: string[] = [];
        await using undo = new AsyncDisposableStack();
        const gpus = await verifyGpus({ engine: {}, ...options }, undo, (text) => remarks.push(text));
        if (gpus !== undefined) await use(gpus);
        await undo.disposeAsync();
        return remarks;
      }

      it('NA-17: an agent that was not told by what to judge its GPUs does not use them', async () => {
        await machineOf([gpu]);
        expect(await refusalCodeAsync(() => told({ machine: machine() }, (gpus) => gpus.open()))).toBe(
          'nvml-not-judged',
        );
        expect(nvml.get('calls:nvmlInit_v2')).toBe(0);
      });

      it('NA-22: GPUs that nobody named are left alone', async () => {
        const verification = await machineOf([gpu]);
        const options = { machine: { ...machine(), devices: ['sev-snp' as const] }, gpus: { verification } };
        expect(await told(options, (gpus) => gpus.open())).toEqual([]);
        expect(nvml.get('calls:nvmlInit_v2')).toBe(0);
      });

      it('NA-23: an engine uses no GPU that the agent has not verified', async () => {
        const verification = await machineOf([gpu]);
        const unnamed = { machine: { ...machine(), devices: ['sev-snp' as const] }, engine: { gpu: true } };
        expect(await refusalCodeAsync(() => told(unnamed, (gpus) => gpus.open()))).toBe(
          'nvml-engine-unverified',
        );
        const named = { machine: machine(), gpus: { verification }, engine: { gpu: true } };
        expect(await told(named, (gpus) => gpus.open())).toEqual([]);
        expect(await told({ ...unnamed, engine: { gpu: false } }, (gpus) => gpus.open())).toEqual([]);
      });

      it('NA-18, NA-20: says why ready GPUs are accepted, and takes back what it set', async () => {
        const verification = await machineOf([gpu]);
        expect(await told({ machine: machine(), gpus: { verification } }, (gpus) => gpus.open())).toEqual([]);
        expect(nvml.get('ready')).toBe(0);
        nvml.set('ready', 1);
        const gpus = { verification, acceptReadyBecause: 'a test opened them' };
        expect(await told({ machine: machine(), gpus }, (ready) => ready.open())).toEqual([
          expect.stringContaining('a test opened them'),
        ]);
      });

      it('NA-20: an end that cannot take the state back is told, and hides no other reason', async () => {
        const gpus = { verification: await machineOf([gpu]) };
        const openAndStick = async (ready: ReadyGpus): Promise<void> => {
          await ready.open();
          nvml.set('deaf', 1);
        };
        const [remark, ...more] = await told({ machine: machine(), gpus }, openAndStick);
        expect(remark).toContain('nvml-ready-refused');
        expect(more).toEqual([]);
      });

      it('NA-20: a GPU that is lost at the end leaves the library closed', async () => {
        const verification = await machineOf([gpu]);
        const ready = await ReadyGpus.verify({
          addresses: { gpus: `nvml:${nvml.library}`, switches: 'none' },
          verification,
        });
        await ready.open();
        nvml.fail('nvmlSystemGetConfComputeGpusReadyState', 15);
        expect(await refusalCodeAsync(() => ready.close())).toBe('nvml-gpu-lost');
      });
    });
  },
);
