import { beforeAll, describe, expect, it } from 'vitest';

import { toHex } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { CertificateMemory } from '../../../attestation/core/certificate-memory.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { isTrusted } from '../../../attestation/core/trusted.ts';
import { nvidiaGpuDeviceClass, nvswitchDeviceClass } from '../../../attestation/nvidia-gpu/device-class.ts';
import { readPemChain } from '../../../attestation/nvidia-gpu/evidence.ts';
import { verifyGpuReport } from '../../../attestation/nvidia-gpu/question.ts';
import type { ReportQuestion } from '../../../attestation/nvidia-gpu/question.ts';
import { ocspCollateralName } from '../../../attestation/nvidia-gpu/ocsp/appraise.ts';
import { makeGpu, makeSwitch } from '../../../src/agent/simulated/nvidia-device.ts';
import type {
  SimulatedGpu,
  SimulatedNvidiaDevice,
  SimulatedSwitch,
} from '../../../src/agent/simulated/nvidia-device.ts';
import { SimulatedVendor } from '../../../src/agent/simulated/nvidia-vendor.ts';
import {
  evidenceOf,
  GPU_POLICY,
  inputsFor,
  manifestReferences,
  SIMULATED_AT,
  simulatedNvidia,
  SWITCH_POLICY,
} from '../../support/simulated-gpu.ts';

type Document = Readonly<Record<string, JsonValue>>;

const NONCE = new Uint8Array(32).fill(3);
const DAY_SECONDS = 86_400;

let vendor: SimulatedVendor;
let gpu: SimulatedNvidiaDevice;
let nvswitch: SimulatedNvidiaDevice;

beforeAll(async () => {
  vendor = await simulatedNvidia();
  gpu = await makeGpu(vendor.devices);
  nvswitch = await makeSwitch(vendor.devices);
});

const memory = new CertificateMemory();
const inputsOf = new Map<SimulatedNvidiaDevice, Promise<DeviceInputs>>();

/** Made once for each device: every answer and manifest is signed anew. */
function goodInputs(device: SimulatedNvidiaDevice): Promise<DeviceInputs> {
  const known = inputsOf.get(device) ?? inputsFor(vendor, device, NONCE);
  inputsOf.set(device, known);
  return known;
}

/** All codes of the refusal in order, or `accepted`. */
async function verdict(
  device: SimulatedNvidiaDevice,
  changes: Partial<DeviceInputs> = {},
): Promise<readonly string[]> {
  const deviceClass = device.chip === 'LS10' ? nvswitchDeviceClass : nvidiaGpuDeviceClass;
  const evidence = deviceClass.parse(await evidenceOf(device, NONCE), 'evidence');
  const inputs = { ...(await goodInputs(device)), memory, ...changes };
  const answer = await deviceClass.verify(evidence as never, inputs);
  return answer.outcome === 'accepted' ? ['accepted'] : answer.refusals.map(({ code }) => code);
}

function policy(changes: Document, base: Document = GPU_POLICY): { readonly policy: JsonValue } {
  return { policy: { ...base, ...changes } };
}

function manifestPolicy(changes: Document): { readonly policy: JsonValue } {
  return policy({ manifests: { ...(GPU_POLICY['manifests'] as Document), ...changes } });
}

async function withGpu(
  settings: SimulatedGpu,
  changes: Partial<DeviceInputs> = {},
): Promise<readonly string[]> {
  return await verdict(await makeGpu(vendor.devices, settings), changes);
}

async function withSwitch(settings: SimulatedSwitch): Promise<readonly string[]> {
  return await verdict(await makeSwitch(vendor.devices, settings));
}

describe('GPUs', () => {
  it.each([
    ['Hopper', {}],
    ['Blackwell', { chip: 'GB100' }],
    ['RTX Blackwell', { chip: 'GB202' }],
    ['a driver that writes a header', { withHeader: true }],
  ] as const)('NG-33: NG-34: are accepted: %s', async (_, settings) => {
    expect(await withGpu(settings)).toEqual(['accepted']);
  });

  it('NG-47: W9: their claims are trusted and name what was compared', async () => {
    const evidence = nvidiaGpuDeviceClass.parse(await evidenceOf(gpu, NONCE), 'evidence');
    const answer = await nvidiaGpuDeviceClass.verify(evidence, await goodInputs(gpu));
    if (answer.outcome === 'refused') throw new Error(JSON.stringify(answer.refusals));
    const { claims } = answer;
    expect(isTrusted(claims)).toBe(true);
    expect(claims).toMatchObject({
      ...{ class: 'nvidia-gpu', lab: 'lab-one', simulated: true, attachment: 'software-asserted' },
      ...{ chip: 'GH100', mode: 'spt', driverVersion: '590.48.01', fwidReported: true },
      identity: toHex(nvidiaGpuDeviceClass.identify(evidence)),
      nonce: toHex(NONCE),
      manifests: [{ role: 'driver' }, { role: 'vbios' }],
      measurements: { skipped: [], uncovered: [] },
      revocation: [{ certificate: 'brom' }, { certificate: 'provisioner' }, { certificate: 'identity' }],
    });
    expect(claims.measurements.compared).toHaveLength(33);
    expect(nvidiaGpuDeviceClass.modelOf(claims)).toBe('GH100');
  });

  it('NG-14: keep their name over a change of firmware', async () => {
    const keys = await vendor.devices.certifyDevice({ chip: 'GH100' });
    const updated = await vendor.devices.updateFirmware(keys, new Uint8Array(48).fill(8));
    const chains = [keys, updated].map((device) => vendor.devices.chainOf(device));
    const [before, after] = chains.map((certificates) =>
      nvidiaGpuDeviceClass.identify({ certificates } as never),
    );
    expect(after).toEqual(before);
    expect(chains[0]![0]).not.toEqual(chains[1]![0]);
  });

  it('NG-29: answer for this challenge alone', async () => {
    expect(await verdict(gpu, { expectedDeviceValue: NONCE.with(31, 4) })).toEqual(['gpu-nonce']);
    expect(await verdict(gpu, { expectedDeviceValue: NONCE.subarray(0, 31) })).toEqual(['gpu-nonce']);
    const zero = new Uint8Array(32);
    const report = await gpu.attestationReport(zero);
    const answer = await verifyGpuReport({ ...(await questionOf(gpu)), report, expectedNonce: zero });
    expect(answer).toMatchObject({ outcome: 'refused', refusals: [{ code: 'gpu-nonce-zero' }] });
  });

  it('NG-30: send the firmware that their key stands for', async () => {
    const fwid = new Uint8Array(48).fill(9);
    expect(await withGpu({ fields: { fwid } })).toEqual(['gpu-fwid']);
    expect(await withGpu({ fields: { fwid: undefined } })).toEqual(['gpu-fwid-missing']);
    expect(await withGpu({ firmwareId: null })).toEqual(['gpu-certificate-extension']);
  });

  it('NG-30: only drivers 535 and 545 that the policy names may do without', async () => {
    const old = {
      fwid: undefined,
      dataVersion: undefined,
      featureFlag: undefined,
      driverVersion: '535.86.09',
    };
    const minimumVersions = {
      sets: [],
      chips: [{ chip: 'GH100', driver: '535.00', vbios: '96.00.00.00.00' }],
    };
    const named = (...driversWithoutFwid: string[]) => policy({ driversWithoutFwid, minimumVersions });
    expect(await withGpu({ fields: old }, named())).toEqual(['gpu-fwid-missing']);
    expect(await withGpu({ fields: old }, named('545.00'))).toEqual(['gpu-fwid-missing']);
    expect(await withGpu({ fields: old }, named('535.86.09'))).toEqual(['accepted']);
    // A driver that sends one is held to it, named or not.
    const wrong = { ...old, fwid: new Uint8Array(48) };
    expect(await withGpu({ fields: wrong }, named('535.86.09'))).toEqual(['gpu-fwid']);
    expect(await withGpu({ fields: old }, named('550.90.07'))).toEqual(['shape-value']);
  });

  it('NG-25: are of the chip that they are certified for', async () => {
    expect(await withGpu({ fields: { chipInfo: 'GB100' } })).toEqual(['gpu-chip']);
    expect(await withGpu({ chip: 'GB100', fields: { chipInfo: undefined } })).toEqual(['accepted']);
    expect(await withGpu({ chip: 'GB202', fields: { chipInfo: undefined } })).toEqual(['gpu-chip']);
    expect(await withGpu({ chip: 'GB202', fields: { chipInfo: 'GB100' } })).toEqual(['gpu-chip']);
  });

  it('NG-26: say when their firmware can be debugged', async () => {
    expect(await withGpu({ chip: 'GB100', isDebug: true })).toEqual(['gpu-debug']);
  });

  it('NG-24: are not the security processor beside them', async () => {
    expect(await withGpu({ engine: 'FSP' })).toEqual(['gpu-device-role']);
  });
});

describe('modes', () => {
  const flags = (
    featureFlag: 'spt' | 'mpt' | 'ppcie',
    protectedPcie: 'enabled' | 'disabled' | undefined,
  ) => ({
    fields: { featureFlag, protectedPcie },
  });
  const unstated = { dataVersion: undefined, featureFlag: undefined };

  it('NG-43: NG-39: have to be named by the policy', async () => {
    expect(await withGpu(flags('ppcie', 'enabled'))).toEqual(['accepted']);
    expect(await withGpu(flags('ppcie', 'enabled'), policy({ modes: ['spt', 'mpt'] }))).toEqual(['gpu-mode']);
    expect(await withGpu(flags('mpt', undefined), policy({ modes: ['spt'] }))).toEqual(['gpu-mode']);
  });

  it('NG-43: follow from type 21 where there is no flag', async () => {
    const protectedGpu = { fields: { ...unstated, protectedPcie: 'enabled' as const } };
    expect(await withGpu(protectedGpu, policy({ modes: ['spt'] }))).toEqual(['gpu-mode']);
    expect(await withGpu(protectedGpu, policy({ modes: ['ppcie'] }))).toEqual(['accepted']);
    const single = { fields: { ...unstated, protectedPcie: 'disabled' as const } };
    expect(await withGpu(single, policy({ modes: ['spt'] }))).toEqual(['accepted']);
  });

  it('NG-39: may be unstated only where the policy says so', async () => {
    const silent = { fields: { ...unstated, protectedPcie: undefined } };
    expect(await withGpu(silent)).toEqual(['gpu-mode-unstated']);
    expect(await withGpu(silent, policy({ unstatedMode: 'accept' }))).toEqual(['accepted']);
    const both = policy({ unstatedMode: 'accept', modes: ['ppcie'] });
    expect(await withGpu(silent, both)).toEqual(['gpu-mode']);
  });

  it('NG-36: do not contradict the status of protected PCIe', async () => {
    expect(await withGpu(flags('spt', 'enabled'))).toEqual(['gpu-mode-contradiction']);
    expect(await withGpu(flags('mpt', 'enabled'))).toEqual(['gpu-mode-contradiction']);
    expect(await withGpu(flags('ppcie', 'disabled'))).toEqual(['gpu-mode-contradiction']);
    expect(await withGpu(flags('ppcie', undefined))).toEqual(['accepted']);
  });
});

describe('versions', () => {
  const minimum = (driver: string, vbios: string) =>
    policy({ minimumVersions: { sets: [], chips: [{ chip: 'GH100', driver, vbios }] } });

  it('NG-33: reach the minimum', async () => {
    expect(await verdict(gpu, minimum('590.48.01', '96.00.9F.00.01'))).toEqual(['accepted']);
    expect(await verdict(gpu, minimum('590.48.02', '96.00.9F.00.01'))).toEqual(['gpu-driver-minimum']);
    expect(await verdict(gpu, minimum('590.48.01', '96.00.9F.00.02'))).toEqual(['gpu-vbios-minimum']);
  });

  it('NG-33: without a minimum for the chip nothing is accepted', async () => {
    expect(await verdict(gpu, policy({ minimumVersions: { sets: [], chips: [] } }))).toEqual([
      'gpu-minimum-missing',
    ]);
    const ofOther = { chip: 'GB100', driver: '1.0', vbios: '00.00.00.00.00' };
    const other = policy({ minimumVersions: { sets: [], chips: [ofOther] } });
    expect(await verdict(gpu, other)).toEqual(['gpu-minimum-missing']);
  });

  const set = (name: string, driver: string, vbios: string): Document => ({
    ...{ version: 1, class: 'nvidia-gpu', kind: 'minimum-versions', name, date: '2026-10' },
    bulletins: [
      { bulletin: 'B1', date: '2026-10-01', source: 'a test', chips: [{ chip: 'GH100', driver, vbios }] },
    ],
  });

  it('NG-41: are those of the named sets, merged to the highest', async () => {
    const named = (sets: string[], ...own: Document[]) => policy({ minimumVersions: { sets, chips: own } });
    const references = manifestReferences(vendor, gpu);
    const sets = [set('old', '550.00', '96.00.9F.00.01'), set('new', '600.00', '96.00.00.00.00')];
    const referenceValues = [...references, ...sets];
    const code = async (documents: { readonly policy: JsonValue }): Promise<readonly string[]> =>
      await verdict(gpu, { ...documents, referenceValues });
    expect(await code(named(['old']))).toEqual(['accepted']);
    expect(await code(named(['new']))).toEqual(['gpu-driver-minimum']);
    expect(await code(named(['old', 'new']))).toEqual(['gpu-driver-minimum']);
    const own = { chip: 'GH100', driver: '1.0', vbios: '96.00.9F.00.02' };
    expect(await code(named(['old'], own))).toEqual(['gpu-vbios-minimum']);
    expect(await code(named(['other']))).toEqual(['gpu-minimum-set']);
    const twice = { ...named(['old']), referenceValues: [...referenceValues, sets[0]!] };
    expect(await verdict(gpu, twice)).toEqual(['gpu-minimum-set']);
  });
});

describe('manifests', () => {
  async function collateral(without: (name: string) => boolean): Promise<ReadonlyMap<string, Uint8Array>> {
    const whole = (await goodInputs(gpu)).collateral;
    return new Map([...whole].filter(([name]) => !without(name)));
  }

  it.each(['DRIVER', 'VBIOS'])('NG-34: that of the %s has to be there', async (part) => {
    const codes = await verdict(gpu, { collateral: await collateral((name) => name.includes(part)) });
    expect(codes).toContain('gpu-manifest');
    expect(codes).toContain('rim-missing');
  });

  it('NG-34: one that is altered is refused', async () => {
    const whole = (await goodInputs(gpu)).collateral;
    const changed = [...whole].map(([name, bytes]) => {
      const altered = name.includes('DRIVER') ? bytes.with(bytes.length - 2, 0x58) : bytes;
      return [name, altered] as const;
    });
    const codes = await verdict(gpu, { collateral: new Map(changed) });
    expect(codes.at(-1)).toMatch(/^rim-/);
  });

  it('NG-34: those of another version do not do', async () => {
    const other = await makeGpu(vendor.devices, { fields: { driverVersion: '590.48.02' } });
    const [name] = [...vendor.manifestsFor(gpu).keys()];
    const [bytes] = [...vendor.manifestsFor(other).values()];
    const swapped = new Map([...(await goodInputs(gpu)).collateral, [name!, bytes!]]);
    const referenceValues = [...manifestReferences(vendor, gpu), ...manifestReferences(vendor, other)];
    const codes = await verdict(gpu, { collateral: swapped, referenceValues });
    expect(codes[0]).toBe('rim-version');
    expect(codes).toContain('rim-measurement');
  });

  it('NG-34: every measurement that differs is named', async () => {
    const measurements = new Map([7, 12, 35].map((index) => [index, new Uint8Array(48).fill(1)] as const));
    expect(await withGpu({ measurements })).toEqual([
      'rim-measurement',
      'rim-measurement',
      'rim-measurement',
    ]);
  });

  it('NG-32: a disabled video decoder is compared unless the policy skips it', async () => {
    const measurements = new Map([[35, new Uint8Array(48).fill(1)]]);
    const skip = manifestPolicy({ disabledNvdec: 'skip' });
    expect(await withGpu({ measurements }, skip)).toEqual(['accepted']);
    expect(await withGpu({ measurements, fields: { nvdec0Status: 'enabled' } }, skip)).toEqual([
      'rim-measurement',
    ]);
  });

  it('NG-35: what no manifest covers is zero, or named by the policy', async () => {
    const measurements = new Map([[50, new Uint8Array(48).fill(1)]]);
    expect(await withGpu({ measurements })).toEqual(['gpu-uncovered-blocks']);
    expect(await withGpu({ measurements }, manifestPolicy({ uncovered: [49] }))).toEqual([
      'gpu-uncovered-blocks',
    ]);
    expect(await withGpu({ measurements }, manifestPolicy({ uncovered: [50] }))).toEqual(['accepted']);
  });

  it('NG-39: NG-40: issues are listed, or any, and none is denied', async () => {
    const references = manifestReferences(vendor, gpu);
    expect(await verdict(gpu, { referenceValues: [] })).toEqual(['rim-issue', 'rim-issue']);
    expect(await verdict(gpu, { referenceValues: references.slice(0, 1) })).toEqual(['rim-issue']);
    expect(await verdict(gpu, { ...manifestPolicy({ issues: 'any' }), referenceValues: [] })).toEqual([
      'accepted',
    ]);
    const deniedDigests = [references[1]!['contentDigest'] as string];
    expect(await verdict(gpu, manifestPolicy({ deniedDigests }))).toEqual(['gpu-manifest-denied']);
    expect(await verdict(gpu, manifestPolicy({ signerNotBefore: SIMULATED_AT + 1 }))).toEqual([
      'rim-issue-date',
      'rim-issue-date',
    ]);
  });

  it.each([
    [[], false],
    [['endorsements'], true],
    [['reference-values'], true],
    [['endorsements', 'reference-values'], true],
  ] as const)('NG-38: W9: roots of simulated hardware for %j: simulated %s', async (purposes, simulated) => {
    const evidence = nvidiaGpuDeviceClass.parse(await evidenceOf(gpu, NONCE), 'evidence');
    const inputs = await goodInputs(gpu);
    const anchors = inputs.anchors.map((anchor) => ({
      ...anchor,
      simulated: purposes.some((purpose) => purpose === anchor.purpose),
    }));
    const answer = await nvidiaGpuDeviceClass.verify(evidence, { ...inputs, anchors });
    expect(answer).toMatchObject({ outcome: 'accepted', claims: { simulated } });
  });

  it('NG-20: the root of manifests and that of devices do not stand for each other', async () => {
    const [devices, manifests] = vendor.anchors as [(typeof vendor.anchors)[0], (typeof vendor.anchors)[0]];
    const exchanged = [
      { ...devices, purpose: 'reference-values' },
      { ...manifests, purpose: 'endorsements' },
    ] as const;
    expect(await verdict(gpu, { anchors: exchanged })).toEqual(['path-untrusted']);
    const devicesOnly = [devices, { ...devices, purpose: 'reference-values' }] as const;
    expect(await verdict(gpu, { anchors: devicesOnly })).toEqual(['path-untrusted']);
    expect(await verdict(gpu, { anchors: [devices, manifests] })).toEqual(['accepted']);
  });
});

describe('revocation', () => {
  it.each([1, 2, 3])('NG-31: certificate %i has to be known as good', async (place) => {
    const name = ocspCollateralName({ encoded: gpu.chain[place]! });
    const whole = (await goodInputs(gpu)).collateral;
    const missing = new Map([...whole].filter(([key]) => key !== name));
    expect(await verdict(gpu, { collateral: missing })).toEqual(['ocsp-missing']);
    for (const status of ['revoked', 'hold', 'unknown'] as const) {
      const answer = await vendor.answer(gpu.chain[place]!, { status });
      const collateral = new Map([...whole, [name, answer]]);
      expect(await verdict(gpu, { collateral })).toEqual([`ocsp-${status}`]);
    }
  });

  it('NG-31: an answer is not older than the policy allows', async () => {
    const code = async (maxAgeSeconds: number): Promise<readonly string[]> =>
      await verdict(gpu, policy({ revocation: { maxAgeSeconds } }));
    expect(await code(3600)).toEqual(['accepted']);
    expect(await code(3599)).toEqual(['ocsp-too-old']);
    expect(await verdict(gpu, { time: SIMULATED_AT + DAY_SECONDS })).toEqual(['ocsp-stale']);
  });
});

describe('policies and records', () => {
  it('NG-39: name chips and devices', async () => {
    expect(await verdict(gpu, policy({ chips: ['GB100'] }))).toEqual(['gpu-chip-policy']);
    const identity = toHex(nvidiaGpuDeviceClass.identify({ certificates: gpu.chain } as never));
    const other = 'ab'.repeat(32);
    const devices = (allowed: JsonValue, denied: JsonValue) => policy({ devices: { allowed, denied } });
    expect(await verdict(gpu, devices([identity], []))).toEqual(['accepted']);
    expect(await verdict(gpu, devices([other], []))).toEqual(['gpu-device-denied']);
    expect(await verdict(gpu, devices('any', [identity]))).toEqual(['gpu-device-denied']);
    expect(await verdict(gpu, devices([identity], [identity]))).toEqual(['gpu-device-denied']);
  });

  it('NG-32: a record is of this device and this lab', async () => {
    const identity = toHex(nvidiaGpuDeviceClass.identify({ certificates: gpu.chain } as never));
    const record = { version: 1, class: 'nvidia-gpu', lab: 'lab-one', identity };
    expect(await verdict(gpu, { enrolment: record })).toEqual(['accepted']);
    expect(await verdict(gpu, { enrolment: { ...record, lab: 'lab-two' } })).toEqual(['gpu-other-lab']);
    const other = { ...record, identity: 'ab'.repeat(32) };
    expect(await verdict(gpu, { enrolment: other })).toEqual(['gpu-other-device']);
    expect(await verdict(gpu, { enrolment: { ...record, class: 'nvswitch' } })).toEqual(['shape-value']);
    const required = policy({ enrolment: 'required' });
    expect(await verdict(gpu, required)).toEqual(['gpu-not-enrolled']);
    expect(await verdict(gpu, { ...required, enrolment: record })).toEqual(['accepted']);
  });

  it('NG-39: NG-40: of the other class do not do', async () => {
    expect(await verdict(gpu, { policy: SWITCH_POLICY })).toEqual(['shape-value']);
    const referenceValues = manifestReferences(vendor, nvswitch);
    expect(await verdict(gpu, { referenceValues })).toEqual(['shape-value']);
  });
});

describe('switches', () => {
  it('NG-34: are accepted with their one manifest', async () => {
    expect(await verdict(nvswitch)).toEqual(['accepted']);
    const collateral = new Map(
      [...(await goodInputs(nvswitch)).collateral].filter(([name]) => !name.startsWith('rim:')),
    );
    expect(await verdict(nvswitch, { collateral })).toEqual([
      'gpu-manifest',
      'rim-missing',
      'gpu-uncovered-blocks',
    ]);
  });

  it('NG-37: are locked and report their own number', async () => {
    expect(await withSwitch({ fields: { lockStatus: 0 } })).toEqual(['gpu-switch-unlocked']);
    expect(await withSwitch({ fields: { lockStatus: 0x101 } })).toEqual(['gpu-switch-unlocked']);
    expect(await withSwitch({ fields: { pdi: new Uint8Array(8).fill(1) } })).toEqual(['gpu-switch-pdi']);
  });

  it('NG-33: reach their minimum', async () => {
    const minimumVersions = { sets: [], chips: [{ chip: 'LS10', vbios: '96.10.73.00.02' }] };
    expect(await verdict(nvswitch, policy({ minimumVersions }, SWITCH_POLICY))).toEqual([
      'gpu-vbios-minimum',
    ]);
  });

  it('NG-13: NG-24: are no GPUs, nor GPUs switches', async () => {
    const evidence = await evidenceOf(nvswitch, NONCE);
    expect(() => nvidiaGpuDeviceClass.parse(evidence, 'evidence')).toThrow(/gpu-report-blocks/);
    const ofGpu = await evidenceOf(gpu, NONCE);
    expect(() => nvswitchDeviceClass.parse(ofGpu, 'evidence')).toThrow(/gpu-report-blocks/);
  });
});

async function questionOf(device: SimulatedNvidiaDevice): Promise<ReportQuestion> {
  const { anchors, collateral, time, policy: rules, referenceValues } = await goodInputs(device);
  return {
    kind: device.chip === 'LS10' ? 'switch' : 'gpu',
    report: await device.attestationReport(NONCE),
    certificates: readPemChain(await device.certificateChain(), 'chain'),
    expectedNonce: NONCE,
    architectureLabel: undefined,
    ...{ anchors, collateral, time },
    appraisal: { policy: rules, referenceValues },
  };
}

describe('reports that stand alone', () => {
  it('NG-46: are accepted when everything was judged', async () => {
    for (const device of [gpu, nvswitch]) {
      const answer = await verifyGpuReport(await questionOf(device));
      expect(answer).toMatchObject({
        outcome: 'accepted',
        claims: { appraisal: { minimumVersionSets: [] } },
      });
      expect(isTrusted(answer.outcome === 'accepted' ? answer.claims : {})).toBe(true);
    }
  });

  it.each([
    ['nonce', { expectedNonce: undefined }, ['gpu-nonce']],
    ['policy', { appraisal: undefined }, ['gpu-manifest']],
    ['both', { expectedNonce: undefined, appraisal: undefined }, ['gpu-nonce', 'gpu-manifest']],
  ] as const)('NG-46: are inspected without %s, and say so', async (_, changes, unjudged) => {
    const answer = await verifyGpuReport({ ...(await questionOf(gpu)), ...changes });
    if (answer.outcome !== 'inspected') throw new Error(answer.outcome);
    expect(isTrusted(answer.claims)).toBe(false);
    const open = answer.checks.filter(({ outcome }) => outcome === 'unjudged').map(({ id }) => id);
    expect(open).toEqual(unjudged);
    expect(answer.claims.nonce).toBe(toHex(NONCE));
  });

  it('NG-46: are refused all the same for what was judged', async () => {
    const question = { ...(await questionOf(gpu)), expectedNonce: undefined, anchors: [] };
    expect(await verifyGpuReport(question)).toMatchObject({ outcome: 'refused', family: 'inauthentic' });
    const cut = { ...question, report: question.report.subarray(1) };
    expect(await verifyGpuReport(cut)).toMatchObject({ outcome: 'refused', family: 'malformed' });
  });

  it('NG-18: are not of another architecture than their label says', async () => {
    const question = await questionOf(gpu);
    expect(await verifyGpuReport({ ...question, architectureLabel: 'HOPPER' })).toMatchObject({
      outcome: 'accepted',
    });
    for (const architectureLabel of ['BLACKWELL', 'LS10', 'hopper', '']) {
      expect(await verifyGpuReport({ ...question, architectureLabel })).toMatchObject({
        refusals: [{ code: 'gpu-architecture' }],
      });
    }
  });
});
