/**
 * A machine of the demonstration with a simulated processor of AMD and a simulated GPU of NVIDIA: the processor's report
 * names the GPU's evidence, so that neither can be exchanged without the other.
 */

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { sha384 } from '@noble/hashes/sha2.js';

import { fromBase64, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { writePem } from '../../../attestation/core/pem.ts';
import { readOpaqueData, writeOpaqueData } from '../../../attestation/nvidia-gpu/opaque-data.ts';
import { gpuEntries, readGpuFields } from '../../../attestation/nvidia-gpu/opaque-fields.ts';
import { readRim } from '../../../attestation/nvidia-gpu/rim/document.ts';
import { openMachine } from '../../agent/machine.ts';
import { writeSimulatedCollateral } from '../../agent/simulated/nvidia-collateral.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../agent/simulated/nvidia-device.ts';
import { saveSimulatedMachine } from '../../agent/simulated/nvidia-machine.ts';
import { SimulatedVendor } from '../../agent/simulated/nvidia-vendor.ts';
import { systemClock } from '../../platform/clock.ts';
import { readDocument } from '../evidence-files.ts';
import type { BadState, DemoDevice, OpenDevices } from './device.ts';
import { SevSnpDemoMachine } from './sev-snp-machine.ts';

const SETTINGS = join(
  import.meta.dirname,
  ...['..', '..', '..', 'policies', 'release', 'settings-sev-snp-nvidia-gpu.yaml'],
);
/** In a report: one byte of the first measurement. */
const MEASUREMENT_OFFSET = 60;
/** A measurement of the driver's firmware, counted as in manifests. */
const FIRMWARE_INDEX = 24;

const OLD_DRIVER = '535.86.09';

const GPU_CLASS = 'nvidia-gpu';

export class SevSnpGpuDemoMachine implements DemoDevice {
  readonly kind = 'an SEV-SNP guest with a GPU';
  readonly settings = SETTINGS;
  readonly checks: string;
  readonly badStates: readonly BadState[];
  private readonly folder: string;
  private readonly guest: SevSnpDemoMachine;
  private readonly vendor: SimulatedVendor;
  private readonly gpu: SimulatedNvidiaDevice;
  /** As good, and not the lab's. */
  private readonly otherGpu: SimulatedNvidiaDevice;

  private constructor(
    folder: string,
    guest: SevSnpDemoMachine,
    vendor: SimulatedVendor,
    [gpu, otherGpu]: readonly [SimulatedNvidiaDevice, SimulatedNvidiaDevice],
  ) {
    this.folder = folder;
    this.guest = guest;
    this.vendor = vendor;
    this.gpu = gpu;
    this.otherGpu = otherGpu;
    this.checks = `${guest.checks}; of the GPU chain, firmware, signature, nonce, mode, versions, manifests, measurements, revocation; that the processor signed for it`;
    this.badStates = [
      this.withGpu(
        'the GPU runs other firmware than its maker released',
        'other-firmware',
        otherFirmware(gpu),
      ),
      this.withGpu('the GPU runs an old driver', 'old-driver', oldDriver(gpu)),
      this.withGpu('a good GPU of somebody else is in the machine', 'other-gpu', otherGpu),
      // One of the guest's own is enough: the machine is no better than the worst of its devices.
      ...guest.badStates.slice(0, 1).map((state) => ({
        what: state.what,
        enter: async () => [...(await state.enter()), ...this.gpuOptions('gpu')],
      })),
    ];
  }

  /** @param folder new; holds both hierarchies of keys and one folder for each state of the machine */
  static async switchOn(folder: string): Promise<SevSnpGpuDemoMachine> {
    const guest = await SevSnpDemoMachine.switchOn(join(folder, 'guest'));
    const vendor = await SimulatedVendor.create(systemClock.posixSeconds());
    const gpu = await makeGpu(vendor.devices);
    await saveSimulatedMachine(join(folder, 'gpu'), [gpu]);
    return new SevSnpGpuDemoMachine(folder, guest, vendor, [gpu, await makeGpu(vendor.devices)]);
  }

  get options(): readonly string[] {
    return this.optionsFor('gpu');
  }

  /** By what the agent judges its GPU before it lets it work. */
  runOptions(home: string): readonly string[] {
    return [
      ...['--gpu-policy', this.policyPath, '--gpu-collateral', join(home, 'collateral')],
      ...this.manifestReferences().flatMap(({ file }) => ['--gpu-reference', file]),
      ...this.rootOptions(home),
    ];
  }

  /** The roots as folders of anchors have them, and what NVIDIA's services would give for the GPU. */
  async install(home: string): Promise<void> {
    await this.guest.install(home);
    const { devices, manifests } = this.vendor;
    for (const [path, { certificate }] of [
      [this.rootPath(home), devices.root],
      [this.manifestRootPath(home), manifests.root],
    ] as const) {
      await mkdir(join(path, '..'), { recursive: true });
      await writeFile(path, writePem(certificate, 'CERTIFICATE'));
    }
    await writeSimulatedCollateral(this.collateralPath, this.vendor, [this.gpu, this.otherGpu]);
    for (const { file, document } of this.manifestReferences()) {
      await writeFile(file, JSON.stringify(document));
    }
    const { nvidiaGpu } = (await readDocument(SETTINGS)) as { readonly nvidiaGpu: object };
    // To whom the GPU belongs is for the server to ask.
    await writeFile(this.policyPath, JSON.stringify({ ...nvidiaGpu, enrolment: 'not-required' }));
  }

  preparations(home: string): readonly (readonly string[])[] {
    const command = [
      ...['collateral', 'import', this.collateralPath, '--dir', join(home, 'collateral')],
      ...this.rootOptions(home),
    ];
    return [...this.guest.preparations(home), command];
  }

  references(folder: string): ReturnType<DemoDevice['references']> {
    const { commands, documents } = this.guest.references(folder);
    return { commands, documents: [...documents, ...this.manifestReferences()] };
  }

  async open(): Promise<OpenDevices> {
    return await openMachine({
      devices: ['sev-snp', GPU_CLASS],
      tpm: { address: 'auto' },
      sevSnp: { address: this.guest.address },
      nvidia: { gpus: `simulated:${join(this.folder, 'gpu')}`, switches: 'none' },
    });
  }

  /** The processor signs for the GPU's altered report too: it is the GPU's own signature that does not hold. */
  forge(evidence: JsonValue, deviceClass: string): JsonValue {
    if (deviceClass !== GPU_CLASS) return evidence;
    const members = evidence as { readonly report: string };
    const report = fromBase64(members.report, 'report').slice();
    report[MEASUREMENT_OFFSET] = (report[MEASUREMENT_OFFSET] ?? 0) ^ 1;
    return { ...members, report: toBase64(report) };
  }

  /** The good GPU stays beside the bad ones. */
  restore(): Promise<void> {
    return this.guest.restore();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.guest[Symbol.asyncDispose]();
  }

  private get collateralPath(): string {
    return join(this.folder, 'nvidia-collateral');
  }

  private get policyPath(): string {
    return join(this.folder, 'gpu-policy.json');
  }

  private rootOptions(home: string): readonly string[] {
    return [
      ...['--simulated-root', this.rootPath(home)],
      ...['--simulated-manifest-root', this.manifestRootPath(home)],
    ];
  }

  private rootPath(home: string): string {
    return join(home, 'anchors', 'simulated', GPU_CLASS, 'simulated-nvidia.pem');
  }

  private manifestRootPath(home: string): string {
    return join(home, 'anchors', 'simulated', GPU_CLASS, 'reference-values', 'simulated-nvidia.pem');
  }

  /** What an owner writes who accepts these two issues. */
  private manifestReferences() {
    return [...this.vendor.manifestsFor(this.gpu)].map(([collateralName, bytes]) => {
      const manifestId = collateralName.replace(/^rim:/, '');
      const name = manifestId.toLowerCase().replaceAll('_', '-');
      const document = {
        ...{ version: 1, class: GPU_CLASS, kind: 'manifest', name, manifestId },
        contentDigest: toHex(sha384(readRim(bytes).content)),
        provenance: { source: 'the machine of the demonstration', recordedAt: systemClock.posixSeconds() },
      };
      return { name, file: join(this.folder, `${name}.json`), document };
    });
  }

  private optionsFor(name: string): readonly string[] {
    return [...this.guest.options, ...this.gpuOptions(name)];
  }

  private gpuOptions(name: string): readonly string[] {
    return ['--device', GPU_CLASS, '--nvidia-gpu', `simulated:${join(this.folder, name)}`];
  }

  private withGpu(what: string, name: string, gpu: SimulatedNvidiaDevice): BadState {
    const enter = async (): Promise<readonly string[]> => {
      await saveSimulatedMachine(join(this.folder, name), [gpu]);
      return this.optionsFor(name);
    };
    return { what, enter };
  }
}

/** The same GPU with a measurement that no manifest has. */
function otherFirmware(gpu: SimulatedNvidiaDevice): SimulatedNvidiaDevice {
  const { response } = gpu.template;
  const value = new Uint8Array(48).fill(0x66);
  const blocks = response.blocks.map((block) =>
    block.index === FIRMWARE_INDEX + 1 ? { ...block, measurement: { ...block.measurement, value } } : block,
  );
  return gpu.with({ template: { ...gpu.template, response: { ...response, blocks } } });
}

/** The same GPU under a driver of before the oldest accepted one. */
function oldDriver(gpu: SimulatedNvidiaDevice): SimulatedNvidiaDevice {
  const { response } = gpu.template;
  const fields = readGpuFields(readOpaqueData(response.opaqueData, 'opaqueData'), 'opaqueData');
  const entries = gpuEntries({ ...fields, driverVersion: OLD_DRIVER });
  const opaqueData = writeOpaqueData({ format: 'packed', entries });
  return gpu.with({ template: { ...gpu.template, response: { ...response, opaqueData } } });
}
