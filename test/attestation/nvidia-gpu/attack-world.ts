/** A simulated GPU that a verifier accepts, and all that can be done to its evidence; every signature is a real one. */

import { p384 } from '@noble/curves/nist.js';

import { concatBytes, fromUtf8, toHex, toUtf8 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { Checklist } from '../../../attestation/core/verdict.ts';
import { authenticateReport } from '../../../attestation/nvidia-gpu/authenticate.ts';
import { demandArchitecture } from '../../../attestation/nvidia-gpu/claimed-architecture.ts';
import { reportClaims } from '../../../attestation/nvidia-gpu/claims.ts';
import { nvidiaGpuDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import {
  readGpuEvidence,
  readSwitchEvidence,
  writeDeviceEvidence,
} from '../../../attestation/nvidia-gpu/evidence.ts';
import type { DeviceEvidence } from '../../../attestation/nvidia-gpu/evidence.ts';
import { ocspCollateralName } from '../../../attestation/nvidia-gpu/ocsp/appraise.ts';
import { readOpaqueData, writeOpaqueData } from '../../../attestation/nvidia-gpu/opaque-data.ts';
import type { PackedEntry } from '../../../attestation/nvidia-gpu/opaque-data.ts';
import { makeGpu } from '../../../src/agent/simulated/nvidia-device.ts';
import type { SimulatedGpu, SimulatedNvidiaDevice } from '../../../src/agent/simulated/nvidia-device.ts';
import { makeProtectedPcie } from '../../../src/agent/simulated/nvidia-machine.ts';
import type { ManifestContents } from '../../../src/agent/simulated/nvidia-manifest.ts';
import { manifestOf } from '../../../src/agent/simulated/nvidia-report.ts';
import { SimulatedVendor } from '../../../src/agent/simulated/nvidia-vendor.ts';
import { GPU_POLICY, inputsFor, SIMULATED_AT, simulatedNvidia } from '../../support/simulated-gpu.ts';
import { refusalsOf } from '../../support/vector-nvidia-judgement.ts';

export type Codes = readonly string[];
type Document = Readonly<Record<string, JsonValue>>;
export type Attack = readonly [
  what: string,
  refusals: Codes,
  attempt: (world: AttackWorld) => Promise<Codes>,
];

/** One check: what is tried against it here, or where it is tried when no GPU of this kind can show it. */
export type Row = { readonly row: number; readonly check: string } & (
  { readonly attacks: readonly Attack[] } | { readonly elsewhere: string; readonly because: string }
);

export const NONCE = new Uint8Array(32).fill(7);
export const DRIVER = '590.48.01';
export const VBIOS = '96.00.9F.00.01';

type Blocks = SimulatedNvidiaDevice['template']['response']['blocks'];

export class AttackWorld {
  readonly vendor: SimulatedVendor;
  /** Another hierarchy with the same names. */
  readonly lookalike: SimulatedVendor;
  /** An ordinary Hopper GPU, and the inputs with which it is accepted. */
  readonly gpu: SimulatedNvidiaDevice;
  readonly good: DeviceInputs;
  /** Two GPUs and two switches that know each other. */
  readonly board: readonly SimulatedNvidiaDevice[];

  private constructor(
    vendor: SimulatedVendor,
    lookalike: SimulatedVendor,
    gpu: SimulatedNvidiaDevice,
    good: DeviceInputs,
    board: readonly SimulatedNvidiaDevice[],
  ) {
    this.vendor = vendor;
    this.lookalike = lookalike;
    this.gpu = gpu;
    this.good = good;
    this.board = board;
  }

  static async create(): Promise<AttackWorld> {
    const vendor = await simulatedNvidia();
    const gpu = await makeGpu(vendor.devices);
    return new AttackWorld(
      vendor,
      await SimulatedVendor.create(SIMULATED_AT),
      gpu,
      await inputsFor(vendor, gpu, NONCE),
      await makeProtectedPcie(vendor.devices, [{}, {}], [{}, {}]),
    );
  }

  async judge(device: SimulatedNvidiaDevice, changes: Partial<DeviceInputs> = {}): Promise<Codes> {
    return this.judgeReport(await device.attestationReport(NONCE), device.chain, changes);
  }

  /** Codes of the refusal of a report with a chain, in order; none when it is accepted. */
  judgeReport(
    report: Uint8Array,
    chain: readonly Uint8Array[],
    changes: Partial<DeviceInputs> = {},
  ): Promise<Codes> {
    return refusalsOf(() => {
      const evidence = nvidiaGpuDeviceClass.parse(writeDeviceEvidence(report, chain), 'evidence');
      return nvidiaGpuDeviceClass.verify(evidence, { ...this.good, ...changes });
    });
  }

  /** The ordinary GPU with other settings; its manifests and policy stay those of the ordinary one. */
  async judgeGpu(settings: SimulatedGpu, changes: Partial<DeviceInputs> = {}): Promise<Codes> {
    const device = await makeGpu(this.vendor.devices, settings);
    const { collateral } = await inputsFor(this.vendor, device, NONCE);
    return this.judge(device, { collateral, ...changes });
  }

  /** The ordinary report with bytes changed after it was signed. */
  async altered(change: (report: Uint8Array) => Uint8Array): Promise<Codes> {
    return this.judgeReport(change(await this.gpu.attestationReport(NONCE)), this.gpu.chain);
  }

  /** The report of the ordinary GPU with other parts, signed by its key. */
  signed(change: (template: SimulatedNvidiaDevice['template']) => object): Promise<Codes> {
    const { template } = this.gpu;
    return this.judge(this.gpu.with({ template: { ...template, ...change(template) } }));
  }

  /** Counted as they are, so that nothing but the blocks themselves is wrong. */
  withBlocks(change: (blocks: Blocks) => Blocks): Promise<Codes> {
    return this.signed(({ response }) => {
      const blocks = change(response.blocks);
      return { response: { ...response, blocks, blockCount: blocks.length } };
    });
  }

  withOpaque(change: (entries: readonly PackedEntry[]) => readonly PackedEntry[]): Promise<Codes> {
    return this.signed(({ response }) => {
      const data = readOpaqueData(response.opaqueData, 'opaqueData');
      if (data.format !== 'packed') throw new Error('the ordinary GPU writes no header');
      const opaqueData = writeOpaqueData({ ...data, entries: change(data.entries) });
      return { response: { ...response, opaqueData } };
    });
  }

  withCollateral(...entries: readonly (readonly [string, Uint8Array])[]): Promise<Codes> {
    return this.judge(this.gpu, { collateral: new Map([...this.good.collateral, ...entries]) });
  }

  withoutCollateral(isGone: (name: string) => boolean): Promise<Codes> {
    return this.judge(this.gpu, {
      collateral: new Map([...this.good.collateral].filter(([name]) => !isGone(name))),
    });
  }

  /** Another answer about a certificate of the device's chain. */
  async withAnswer(place: number, options: Parameters<SimulatedVendor['answer']>[1]): Promise<Codes> {
    const encoded = this.gpu.chain[place]!;
    return this.withCollateral([ocspCollateralName({ encoded }), await this.vendor.answer(encoded, options)]);
  }

  /** Another manifest under the name of the one that the device needs; the policy takes any issue. */
  withManifest(role: 'driver' | 'vbios', bytes: (contents: ManifestContents) => Uint8Array): Promise<Codes> {
    const [name] = [...this.good.collateral].find(([one]) =>
      one.includes(role === 'driver' ? 'DRIVER' : 'VBIOS'),
    )!;
    const contents = manifestOf('GH100', role, role === 'driver' ? DRIVER : VBIOS);
    const collateral = new Map([...this.good.collateral, [name, bytes(contents)] as const]);
    return this.judge(this.gpu, { collateral, ...manifestPolicy({ issues: 'any' }) });
  }

  issued(role: 'driver' | 'vbios', changes: (contents: ManifestContents) => Partial<ManifestContents>) {
    return this.withManifest(role, (contents) =>
      this.vendor.manifests.issue({ ...contents, ...changes(contents) }),
    );
  }

  /** The text of a manifest after it was signed. */
  edited(find: string, replace: string): Promise<Codes> {
    return this.withManifest('vbios', (contents) => {
      const text = fromUtf8(this.vendor.manifests.issue(contents), 'manifest');
      if (!text.includes(find)) throw new Error(`the manifest has no ${find}`);
      return toUtf8(text.replace(find, () => replace));
    });
  }

  /** The claims of a board's devices, judged as one machine. */
  async judgeSet(devices: readonly SimulatedNvidiaDevice[]): Promise<Codes> {
    const checks = new Checklist();
    const claims = await Promise.all(devices.map((device) => this.claimsOf(device)));
    nvidiaGpuDeviceClass.appraiseSet?.(claims, checks);
    return [...new Set(checks.failed.map(({ refusal }) => refusal.code))];
  }

  async claimsOf(device: SimulatedNvidiaDevice): Promise<ReturnType<typeof reportClaims>> {
    const member = writeDeviceEvidence(await device.attestationReport(NONCE), device.chain);
    const evidence: DeviceEvidence =
      device.chip === 'LS10' ? readSwitchEvidence(member, 'evidence') : readGpuEvidence(member, 'evidence');
    const inputs = {
      anchors: this.vendor.anchors,
      time: SIMULATED_AT,
      expectedNonce: NONCE,
      driversWithoutFwid: [],
    };
    return reportClaims(await authenticateReport(evidence, inputs, new Checklist()));
  }

  async underLabel(label: string): Promise<Codes> {
    const evidence = readGpuEvidence(
      writeDeviceEvidence(await this.gpu.attestationReport(NONCE), this.gpu.chain),
      'evidence',
    );
    return refusalsOf(async () => {
      const inputs = { ...this.good, expectedNonce: NONCE, driversWithoutFwid: [] };
      const checks = new Checklist();
      demandArchitecture(label, await authenticateReport(evidence, inputs, checks), checks);
    });
  }
}

export function policy(changes: Document): Pick<DeviceInputs, 'policy'> {
  return { policy: { ...GPU_POLICY, ...changes } };
}

export function manifestPolicy(changes: Document): Pick<DeviceInputs, 'policy'> {
  return policy({ manifests: { ...(GPU_POLICY['manifests'] as Document), ...changes } });
}

export function malleated(report: Uint8Array): Uint8Array {
  const s = report.subarray(-48);
  const order = p384.Point.Fn.ORDER;
  const other = (order - BigInt(`0x${toHex(s)}`)).toString(16).padStart(96, '0');
  return concatBytes(
    report.subarray(0, -48),
    Uint8Array.from(other.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16)),
  );
}

export function overwritten(bytes: Uint8Array, at: number, values: readonly number[]): Uint8Array {
  const copy = bytes.slice();
  copy.set(values, at);
  return copy;
}

export function flipped(bytes: Uint8Array, at: number): Uint8Array {
  return overwritten(bytes, at, [(bytes[at] ?? 0) ^ 1]);
}

export function blockOf(index: number): ReadonlyMap<number, Uint8Array> {
  return new Map([[index, new Uint8Array(48).fill(1)]]);
}
