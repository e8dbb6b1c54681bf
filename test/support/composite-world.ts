/**
 * Machines of several devices in software, for the matrix of test/attestation/composite-matrix.test.ts: guests under a
 * simulated AMD, TPMs that sign with software keys, devices of the example class. Evidence is collected by the agent's
 * own code; what a row then does to it is done to finished bundles, as somebody on the way would.
 */

import { randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { parse } from 'yaml';

import { computeDeviceValue } from '../../attestation/core/binding.ts';
import { toHex } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { computeCompanionsDigest } from '../../attestation/core/composite/companions.ts';
import type { DeviceSet } from '../../attestation/core/composite/device-set.ts';
import type { AnyDeviceClass } from '../../attestation/core/device-class.ts';
import {
  deviceKey,
  digestOfEvidence,
  parseEvidence,
  verifyEvidence,
  type ClassInputs,
  type DeviceEvidence,
  type EvidenceInputs,
} from '../../attestation/core/evidence.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { exampleDeviceClass } from '../../attestation/example/device-class.ts';
import type { Statement } from '../../attestation/example/layout.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import { collateralNames } from '../../attestation/sev-snp/chain.ts';
import { sevSnpDeviceClass } from '../../attestation/sev-snp/device-class.ts';
import { writeSevSnpEvidence } from '../../attestation/sev-snp/evidence.ts';
import { attestationKeyIdentity } from '../../attestation/tpm/attestation-key.ts';
import { tpmDeviceClass } from '../../attestation/tpm/device-class.ts';
import type { QuoteAttest } from '../../attestation/tpm/layout.ts';
import { collectEvidence, type DeviceAttester, type DeviceRequest } from '../../src/agent/evidence.ts';
import { SevSnpAttester } from '../../src/agent/sev-snp/attester.ts';
import type { SimulatedAmd } from '../../src/agent/simulated/sev-snp-authority.ts';
import {
  manufactureSimulatedGuest,
  SimulatedSevGuest,
  type SimulatedMachine,
} from '../../src/agent/simulated/sev-snp-guest.ts';
import { makeSoftwareExampleDevice } from '../attestation/contract/example-fixture.ts';
import { enrolmentOf, makeSoftwareAttester, type SoftwareAttester } from './software-attester.ts';
import { GUEST_LAUNCH, simulatedAmdAt } from './simulated-amd.ts';

export const LAB = 'lab-one';
/** All certificates of this world are valid then. */
export const TIME = Date.UTC(2026, 5, 1) / 1000;
const LINE = 'Genoa';
const POLICIES = join(import.meta.dirname, '..', '..', 'policies');

export const REGISTRY: ReadonlyMap<string, AnyDeviceClass> = new Map(
  [tpmDeviceClass, sevSnpDeviceClass, exampleDeviceClass, nvidiaGpuDeviceClass, nvswitchDeviceClass].map(
    (deviceClass) => [deviceClass.name, deviceClass as AnyDeviceClass],
  ),
);

/** Any devices of a class, so many. */
export function some(name: string, count = 1): DeviceSet[number] {
  return { class: name, count, models: 'any', devices: 'any' };
}

/** Collects as an agent does whose machine has exactly these devices. */
export async function collect(
  machine: readonly DeviceAttester[],
  binding: Uint8Array,
): Promise<readonly DeviceEvidence[]> {
  const names = [...new Set(machine.map(({ deviceClass }) => deviceClass))];
  const countOf = (name: string): number => machine.filter(({ deviceClass }) => deviceClass === name).length;
  const asked = {
    devices: names.map((name) => ({ class: name }) as DeviceRequest),
    deviceSets: [names.map((name) => ({ class: name, count: countOf(name) }))],
  };
  const bundle = (await collectEvidence(asked, machine, binding)) as unknown as {
    devices: readonly DeviceEvidence[];
  };
  return bundle.devices;
}

/** One device of a bundle, made by hand: for whatever companions one says. */
export async function collectOne(
  attester: DeviceAttester,
  binding: Uint8Array,
  companionsDigest: Uint8Array,
): Promise<DeviceEvidence> {
  const { deviceClass, identity } = attester;
  const deviceValue = computeDeviceValue(deviceClass, binding, identity);
  const request = { class: deviceClass } as DeviceRequest;
  return { class: deviceClass, evidence: await attester.collect(request, deviceValue, companionsDigest) };
}

/** The digest over finished members of a bundle. */
export function digestOver(
  members: readonly { readonly attester: DeviceAttester; readonly evidence: JsonValue }[],
): Uint8Array {
  return computeCompanionsDigest(
    members.map(({ attester: { deviceClass, identity }, evidence }) => ({
      deviceClass,
      identity,
      evidenceDigest: digestOfEvidence(evidence),
    })),
  );
}

/** `accepted`, `accepted, simulated`, or the codes of the refusals in their order. */
export async function judgeBundle(
  bundle: readonly DeviceEvidence[],
  inputs: EvidenceInputs,
): Promise<string> {
  try {
    const members = bundle.map((member) => ({ ...member }));
    const bytes = encodeCanonicalJson({ version: 1, devices: members });
    const verdict = await verifyEvidence(parseEvidence(bytes, REGISTRY), inputs);
    if (verdict.outcome === 'refused') return verdict.refusals.map(({ code }) => code).join(' ');
    return verdict.simulated ? 'accepted, simulated' : 'accepted';
  } catch (error) {
    if (!isRefusal(error)) throw error;
    return error.refusal.code;
  }
}

/** A TPM that can be told what to say besides the device value. */
export interface WorldTpm extends DeviceAttester {
  readonly software: SoftwareAttester;
  saying(changes: Partial<QuoteAttest>): DeviceAttester;
}

/** A device of the example class, likewise. */
export interface WorldDevice extends DeviceAttester {
  readonly inputs: ClassInputs;
  saying(changes: Partial<Statement>): DeviceAttester;
}

export class World {
  readonly amd: SimulatedAmd;
  readonly guest: SevSnpAttester;
  /** The firmware behind the guest: signs any REPORT_DATA. */
  readonly firmware: SimulatedSevGuest;
  /** Another machine of the same lab. */
  readonly otherGuest: SevSnpAttester;
  readonly tpm: WorldTpm;
  readonly otherTpm: WorldTpm;
  readonly devices: readonly [WorldDevice, WorldDevice, WorldDevice, WorldDevice];

  private readonly folder: string;

  private constructor(
    parts: Pick<World, 'amd' | 'guest' | 'firmware' | 'otherGuest' | 'tpm' | 'otherTpm' | 'devices'> & {
      readonly folder: string;
    },
  ) {
    this.folder = parts.folder;
    this.amd = parts.amd;
    this.guest = parts.guest;
    this.firmware = parts.firmware;
    this.otherGuest = parts.otherGuest;
    this.tpm = parts.tpm;
    this.otherTpm = parts.otherTpm;
    this.devices = parts.devices;
  }

  /** @param folder where guests are kept; the caller removes it */
  static async build(folder: string): Promise<World> {
    const amd = simulatedAmdAt(LINE, TIME);
    const [guest, otherGuest, tpm, otherTpm] = await Promise.all([
      makeGuest(amd, join(folder, 'guest')),
      makeGuest(amd, join(folder, 'other-guest')),
      makeTpm(),
      makeTpm(),
    ]);
    const devices = [makeDevice(), makeDevice(), makeDevice(), makeDevice()] as const;
    const firmware = await SimulatedSevGuest.open(join(folder, 'guest'));
    return new World({ folder, amd, guest, firmware, otherGuest, tpm, otherTpm, devices });
  }

  /** A guest on a chip of this AMD that runs or is set up otherwise. */
  async guestThat(machine: SimulatedMachine): Promise<SevSnpAttester> {
    return await makeGuest(this.amd, join(this.folder, randomUUID()), machine);
  }

  /** The guest's evidence over any REPORT_DATA. */
  async reportOver(reportData: Uint8Array): Promise<JsonValue> {
    const { report, certificateTable } = await this.firmware.report(reportData);
    return writeSevSnpEvidence(report, certificateTable);
  }

  /** The verifier's side: every authority of this world counts as real hardware, unless a row says otherwise. */
  inputs(binding: Uint8Array, deviceSets: readonly DeviceSet[]): EvidenceInputs {
    const tpms = [this.tpm, this.otherTpm];
    return {
      binding,
      lab: LAB,
      time: TIME,
      deviceSets,
      classes: new Map<string, ClassInputs>([
        ['sev-snp', this.guestInputs()],
        ['tpm', real(this.tpm.software.inputs)],
        ['example', mergeInputs(this.devices.map((device) => device.inputs))],
      ]),
      enrolments: new Map(
        tpms.map(({ software, identity }) => [
          deviceKey('tpm', toHex(identity)),
          enrolmentOf(software.name, software.anchor),
        ]),
      ),
    };
  }

  private guestInputs(): ClassInputs {
    const { amd } = this;
    const settings = parse(readFileSync(join(POLICIES, 'release', 'settings-sev-snp.yaml'), 'utf8')) as {
      sevSnp: Readonly<Record<string, JsonValue>>;
    };
    const minima = readFileSync(join(POLICIES, 'reference-values', 'sev-snp', 'amd-2026-02.json'), 'utf8');
    return {
      anchors: [{ name: 'AMD', certificate: amd.root, simulated: false }],
      collateral: new Map([[collateralNames.revocationList(LINE), amd.revocationList()]]),
      referenceValues: [GUEST_LAUNCH, JSON.parse(minima) as JsonValue],
      policy: { ...settings.sevSnp, enrolment: 'not-required' },
    };
  }
}

/** The same inputs with anchors that vouch for real hardware, or for simulated. */
export function real(inputs: ClassInputs, simulated = false): ClassInputs {
  return { ...inputs, anchors: inputs.anchors.map((anchor) => ({ ...anchor, simulated })) };
}

function mergeInputs(inputs: readonly ClassInputs[]): ClassInputs {
  const [first] = inputs;
  if (first === undefined) throw new TypeError('no inputs');
  return real({ ...first, anchors: inputs.flatMap(({ anchors }) => anchors) });
}

async function makeGuest(
  amd: SimulatedAmd,
  folder: string,
  machine: SimulatedMachine = {},
): Promise<SevSnpAttester> {
  await manufactureSimulatedGuest(folder, amd, machine);
  return await SevSnpAttester.open(`simulated:${folder}`);
}

async function makeTpm(): Promise<WorldTpm> {
  const software = await makeSoftwareAttester();
  const saying = (changes: Partial<QuoteAttest>): DeviceAttester => ({
    deviceClass: 'tpm',
    bindsCompanions: false,
    identity: attestationKeyIdentity(software.publicArea),
    collect: (_request, extraData) => software.evidence(software.quote({ extraData, ...changes })),
  });
  return { ...saying({}), software, saying };
}

function makeDevice(): WorldDevice {
  const device = makeSoftwareExampleDevice();
  const parsed = exampleDeviceClass.parse(device.evidence(), 'evidence');
  const saying = (changes: Partial<Statement>): DeviceAttester => ({
    deviceClass: 'example',
    bindsCompanions: false,
    identity: exampleDeviceClass.identify(parsed),
    collect: (_request, deviceValue) =>
      Promise.resolve(device.evidence(device.statement({ deviceValue, ...changes }))),
  });
  const { anchors, collateral, referenceValues, policy } = device.inputs;
  return { ...saying({}), inputs: { anchors, collateral, referenceValues, policy }, saying };
}
