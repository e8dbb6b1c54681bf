/** GPUs, alone and in one machine with a processor: reports and bundles of simulated devices, each over another value. */

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomBytes } from 'node:crypto';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import type { EvidenceInputs } from '../../attestation/core/evidence.ts';
import { readCertificate } from '../../attestation/core/x509.ts';
import { readPemChain } from '../../attestation/nvidia-gpu/evidence.ts';
import type { ReportQuestion } from '../../attestation/nvidia-gpu/question.ts';
import { readReport, signedBytes } from '../../attestation/nvidia-gpu/spdm.ts';
import { collectEvidence } from '../../src/agent/evidence.ts';
import { openMachine } from '../../src/agent/machine.ts';
import { makeGpu, type SimulatedNvidiaDevice } from '../../src/agent/simulated/nvidia-device.ts';
import { saveSimulatedMachine } from '../../src/agent/simulated/nvidia-machine.ts';
import { SimulatedVendor } from '../../src/agent/simulated/nvidia-vendor.ts';
import { GPU_POLICY, manifestReferences } from '../../test/support/simulated-gpu.ts';
import type { Question, RawSignature } from './reports.ts';

/** What is measured of GPUs. */
export interface GpuSubject {
  readonly questions: readonly ReportQuestion[];
  /** One for each report. */
  readonly signatures: readonly RawSignature[];
}

/** One guest and one GPU, as a server gets their evidence. */
export interface MachineSubject {
  readonly bundles: readonly { readonly bytes: Uint8Array; readonly inputs: EvidenceInputs }[];
}

const REPORTS = 32;

/** A vendor, one GPU, and what a verifier of it is told. */
export interface SimulatedGpuOfBench {
  readonly vendor: SimulatedVendor;
  readonly device: SimulatedNvidiaDevice;
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  readonly referenceValues: readonly JsonValue[];
}

export async function makeBenchGpu(time: number): Promise<SimulatedGpuOfBench> {
  const vendor = await SimulatedVendor.create(time);
  const device = await makeGpu(vendor.devices);
  const referenceValues = manifestReferences(vendor, device);
  return { vendor, device, collateral: await vendor.collateralFor(device), referenceValues };
}

export async function makeGpuSubject(gpu: SimulatedGpuOfBench, time: number): Promise<GpuSubject> {
  const questions = await Promise.all(Array.from({ length: REPORTS }, () => ask(gpu, time)));
  return { questions, signatures: questions.map(rawSignature) };
}

async function ask(gpu: SimulatedGpuOfBench, time: number): Promise<ReportQuestion> {
  const expectedNonce = new Uint8Array(randomBytes(32));
  return {
    kind: 'gpu',
    report: await gpu.device.attestationReport(expectedNonce),
    certificates: readPemChain(await gpu.device.certificateChain(), 'chain'),
    anchors: gpu.vendor.anchors,
    collateral: gpu.collateral,
    time,
    expectedNonce,
    architectureLabel: undefined,
    appraisal: { policy: GPU_POLICY, referenceValues: gpu.referenceValues },
  };
}

function rawSignature({ report, certificates: [leaf] }: ReportQuestion): RawSignature {
  return {
    publicKey: readCertificate(leaf ?? new Uint8Array(), 'leaf').subjectPublicKeyInfo,
    message: signedBytes(report).slice(),
    signature: readReport(report, 'gpu').signature.slice(),
  };
}

/**
 * Bundles of the machine that the guest's folder and the GPU make up.
 *
 * @param guest any question about the guest: its anchors, collateral and documents
 * @param guestFolder of the simulated guest
 */
export async function makeMachineSubject(
  gpu: SimulatedGpuOfBench,
  guest: Question,
  guestFolder: string,
): Promise<MachineSubject> {
  const folder = await mkdtemp(join(tmpdir(), 'weightgate-bench-'));
  try {
    await saveSimulatedMachine(folder, [gpu.device]);
    const { attesters } = await openMachine({
      devices: ['sev-snp', 'nvidia-gpu'],
      tpm: { address: 'auto' },
      sevSnp: { address: `simulated:${guestFolder}` },
      nvidia: { gpus: `simulated:${folder}`, switches: 'none' },
    });
    const bundle = async (): Promise<MachineSubject['bundles'][number]> => {
      const binding = new Uint8Array(randomBytes(32));
      const evidence = await collectEvidence(ASKED, attesters, binding);
      return { bytes: encodeCanonicalJson(evidence), inputs: inputsOf(binding, gpu, guest) };
    };
    return { bundles: await Promise.all(Array.from({ length: REPORTS }, bundle)) };
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

const CLASSES = ['sev-snp', 'nvidia-gpu'] as const;
const ASKED = {
  devices: CLASSES.map((name) => ({ class: name })),
  deviceSets: [CLASSES.map((name) => ({ class: name, count: 1 }))],
};

function inputsOf(binding: Uint8Array, gpu: SimulatedGpuOfBench, guest: Question): EvidenceInputs {
  const { anchors, collateral, policy, referenceValues, time } = guest;
  return {
    ...{ binding, time, lab: 'bench', enrolments: new Map() },
    classes: new Map([
      ['sev-snp', { anchors, collateral, policy, referenceValues }],
      [
        'nvidia-gpu',
        {
          anchors: gpu.vendor.anchors,
          collateral: gpu.collateral,
          policy: GPU_POLICY,
          referenceValues: gpu.referenceValues,
        },
      ],
    ]),
    deviceSets: [CLASSES.map((name) => ({ class: name, count: 1, models: 'any', devices: 'any' }))],
  };
}
