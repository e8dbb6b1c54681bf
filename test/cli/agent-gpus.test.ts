/** GPUs on the command line of an agent: how they are named, and by what they are judged. */

import { X509Certificate } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../attestation/core/bytes.ts';
import { claimedIdentity } from '../../attestation/nvidia-gpu/evidence.ts';
import { ReadyGpus } from '../../src/agent/nvidia-gpu/ready-gpus.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import { saveSimulatedMachine } from '../../src/agent/simulated/nvidia-machine.ts';
import { gpuJudgement, type GpuJudgementOptions } from '../../src/cli/gpu-options.ts';
import { DirectoryStore } from '../../src/platform/collateral/directory-store.ts';
import { KeptCollateral } from '../../src/platform/collateral/kept-collateral.ts';
import { nvidiaCollateralCheck } from '../../src/platform/collateral/nvidia-check.ts';
import { gatherNvidiaCollateral } from '../../src/platform/collateral/nvidia-collateral.ts';
import type { NvidiaItem } from '../../src/platform/collateral/nvidia-items.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import { runCommand } from '../support/command-line.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { GPU_POLICY, manifestReferences, simulatedNvidia } from '../support/simulated-gpu.ts';

describe('GPUs of an agent', () => {
  let folder: string;
  let gpu: SimulatedNvidiaDevice;
  let options: GpuJudgementOptions;
  const path = (name: string): string => join(folder, name);

  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'weightgate-agent-gpus-'));
    const vendor = await simulatedNvidia();
    gpu = await makeGpu(vendor.devices);
    await saveSimulatedMachine(path('machine'), [gpu]);
    const references = manifestReferences(vendor, gpu);
    const pem = ({ certificate }: { readonly certificate: Uint8Array }): string =>
      new X509Certificate(certificate).toString();
    await Promise.all([
      writeFile(path('policy.json'), JSON.stringify(GPU_POLICY)),
      ...references.map((each, i) => writeFile(path(`reference-${i}.json`), JSON.stringify(each))),
      writeFile(path('root.pem'), pem(vendor.devices.root)),
      writeFile(path('manifest-root.pem'), pem(vendor.manifests.root)),
    ]);
    options = {
      gpuPolicy: path('policy.json'),
      gpuReference: references.map((_, i) => path(`reference-${i}.json`)),
      gpuCollateral: path('collateral'),
      simulatedRoot: [path('root.pem')],
      simulatedManifestRoot: [path('manifest-root.pem')],
    };
    await fillCollateral();
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  /** As `weightgate collateral fetch` does, from a service that is the simulated vendor. */
  async function fillCollateral(): Promise<void> {
    const vendor = await simulatedNvidia();
    const manifests = vendor.manifestsFor(gpu);
    const find = async (item: NvidiaItem): Promise<Uint8Array | undefined> => {
      if (item.kind === 'rim') return manifests.get(`rim:${item.identifier}`);
      return item.kind === 'ocsp' ? await vendor.answer(item.chain[0]!) : undefined;
    };
    const source = new KeptCollateral<NvidiaItem>({
      store: new DirectoryStore(path('collateral')),
      upstream: { find },
      check: nvidiaCollateralCheck(vendor.anchors),
    });
    const report = readDeviceReport(await gpu.attestationReport(new Uint8Array(32).fill(1)), 'gpu');
    const devices = [{ report, certificates: gpu.chain }];
    const { failures } = await gatherNvidiaCollateral(source, { devices, serviceKeys: false });
    expect(failures).toEqual([]);
  }

  const addresses = (): { gpus: string; switches: string } => ({
    gpus: `simulated:${path('machine')}`,
    switches: 'none',
  });

  async function judged(changes: Partial<GpuJudgementOptions> = {}): Promise<string> {
    return await refusalCodeAsync(async () => {
      const judgement = await gpuJudgement({ ...options, ...changes });
      const gpus = await ReadyGpus.verify({ addresses: addresses(), ...judgement! });
      await gpus.open();
      await gpus.close();
    });
  }

  it('agent identity prints what names a GPU in an accreditation', async () => {
    const outcome = await runCommand(
      ...['agent', 'identity', '--device', 'nvidia-gpu', '--nvidia-gpu', addresses().gpus],
    );
    const identity = toHex(claimedIdentity({ certificates: gpu.chain }));
    expect(outcome).toMatchObject({ exitCode: 0, output: `nvidia-gpu:${identity}\n` });
  });

  it('agent identity says what is missing', async () => {
    const library = path('absent.so');
    const outcome = await runCommand(
      'agent',
      'identity',
      '--device',
      'nvidia-gpu',
      '--nvidia-gpu',
      `nvml:${library}`,
    );
    expect(outcome.exitCode).not.toBe(0);
    expect(outcome.errors).toContain('[nvml-library-missing]');
  });

  it('NA-17: GPUs are judged by the files of the command line', async () => {
    expect(await judged()).toBe('accepted');
  });

  it.each([
    ['roots', { simulatedRoot: [], simulatedManifestRoot: [] }, 'path-untrusted'],
    ['manifests among the reference values', { gpuReference: [] }, 'rim-issue'],
    ['endorsements', { gpuCollateral: '/nonexistent/collateral' }, 'ocsp-missing'],
    ['a folder of endorsements', { gpuCollateral: undefined }, 'argument-invalid'],
  ])('NA-17: and refused without %s', async (_name, changes, code) => {
    expect(await judged(changes as Partial<GpuJudgementOptions>)).toBe(code);
  });

  it('nothing is judged where no policy is given', async () => {
    const { gpuPolicy: _, ...rest } = options;
    expect(await gpuJudgement(rest)).toBeUndefined();
  });
});
