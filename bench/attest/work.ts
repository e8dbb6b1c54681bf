/** The kinds of work that are compared, each for a span of time. */

import { createPublicKey, verify } from 'node:crypto';
import type { KeyObject } from 'node:crypto';

import { CertificateMemory } from '../../attestation/core/certificate-memory.ts';
import type { AnyDeviceClass } from '../../attestation/core/device-class.ts';
import { parseEvidence, verifyEvidence } from '../../attestation/core/evidence.ts';
import { nvidiaGpuDeviceClass } from '../../attestation/nvidia-gpu/device-class.ts';
import { verifyGpuReport, type ReportQuestion } from '../../attestation/nvidia-gpu/question.ts';
import { sevSnpDeviceClass } from '../../attestation/sev-snp/device-class.ts';
import { verifySevSnpReport } from '../../attestation/sev-snp/verify.ts';
import type { RawSignature, Subject } from './reports.ts';

/**
 * `raw`: the signature alone, by node:crypto; `known`: whole reports, chain in memory; `new`: whole reports, without.
 * `gpuAuthentic` and `gpu`: reports of a GPU without and with comparison with manifests; `machine`: bundles of a guest and
 * a GPU, and `rawPair` their two signatures alone. All of these with what is above the reports in memory.
 */
export const WORKS = ['raw', 'known', 'new', 'gpuAuthentic', 'gpu', 'rawPair', 'machine'] as const;
export type Work = (typeof WORKS)[number];

export interface WorkResult {
  readonly verifications: number;
  readonly seconds: number;
  /** Processor time of the whole process, all its threads. */
  readonly processorSeconds: number;
}

type Step = (i: number) => Promise<boolean> | boolean;

/** Goes through the subject again and again. @throws Error when something does not verify */
export async function doWork(work: Work, subject: Subject, seconds: number): Promise<WorkResult> {
  const step = makeStep(work, subject);
  for (let i = 0; i < subject.questions.length; i += 1) await demand(step, i);
  const usage = process.cpuUsage();
  const startedAt = performance.now();
  let verifications = 0;
  while (performance.now() - startedAt < 1000 * seconds) {
    await demand(step, verifications);
    verifications += 1;
  }
  const { user, system } = process.cpuUsage(usage);
  return {
    verifications,
    seconds: (performance.now() - startedAt) / 1000,
    processorSeconds: (user + system) / 1e6,
  };
}

async function demand(step: Step, i: number): Promise<void> {
  const holds = step(i);
  if (!(typeof holds === 'boolean' ? holds : await holds)) throw new Error(`report ${i} does not verify`);
}

function makeStep(work: Work, subject: Subject): Step {
  const memory = new CertificateMemory();
  switch (work) {
    case 'raw':
      return rawStep(subject.signatures);
    case 'rawPair':
      return rawPairStep(subject);
    case 'known':
      return reportStep(subject, { memory });
    case 'new':
      return reportStep(subject, {});
    case 'gpuAuthentic':
      return gpuStep(subject, { memory, appraisal: undefined });
    case 'gpu':
      return gpuStep(subject, { memory });
    case 'machine':
      return machineStep(subject, memory);
  }
}

function rawStep(signatures: readonly RawSignature[]): (i: number) => boolean {
  const prepared = signatures.map(({ publicKey, message, signature }) => {
    const key = createPublicKey({ key: Buffer.from(publicKey), format: 'der', type: 'spki' });
    return { key, message, signature };
  });
  return (i) => verifyRaw(prepared[i % prepared.length]);
}

/** As many signatures as a machine of two devices has. */
function rawPairStep({ signatures, gpu }: Subject): Step {
  const [guest, device] = [rawStep(signatures), rawStep(gpu.signatures)];
  return (i) => guest(i) && device(i);
}

function reportStep({ questions }: Subject, changes: { readonly memory?: CertificateMemory }): Step {
  const asked = questions.map((question) => ({ ...question, ...changes }));
  return async (i) => {
    const question = asked[i % asked.length];
    return question !== undefined && (await verifySevSnpReport(question)).outcome === 'accepted';
  };
}

function gpuStep({ gpu }: Subject, changes: Partial<ReportQuestion>): Step {
  const asked = gpu.questions.map((question) => ({ ...question, ...changes }));
  const expected = 'appraisal' in changes ? 'inspected' : 'accepted';
  return async (i) => {
    const question = asked[i % asked.length];
    return question !== undefined && (await verifyGpuReport(question)).outcome === expected;
  };
}

const CLASSES = new Map<string, AnyDeviceClass>([
  [sevSnpDeviceClass.name, sevSnpDeviceClass],
  [nvidiaGpuDeviceClass.name, nvidiaGpuDeviceClass],
]);

/** Whole bundles, from their bytes on. */
function machineStep({ machine: { bundles } }: Subject, memory: CertificateMemory): Step {
  const asked = bundles.map(({ bytes, inputs }) => {
    const classes = [...inputs.classes].map(([name, inputsOf]) => [name, { ...inputsOf, memory }] as const);
    return { bytes, inputs: { ...inputs, classes: new Map(classes) } };
  });
  return async (i) => {
    const bundle = asked[i % asked.length];
    if (bundle === undefined) return false;
    const devices = parseEvidence(bundle.bytes, CLASSES);
    return (await verifyEvidence(devices, bundle.inputs)).outcome === 'accepted';
  };
}

interface Prepared {
  readonly key: KeyObject;
  readonly message: Uint8Array;
  readonly signature: Uint8Array;
}

function verifyRaw(prepared: Prepared | undefined): boolean {
  if (prepared === undefined) return false;
  const { key, message, signature } = prepared;
  return verify('sha384', message, { key, dsaEncoding: 'ieee-p1363' }, signature);
}
