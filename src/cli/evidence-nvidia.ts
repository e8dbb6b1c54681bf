/** `weightgate evidence` for GPUs and NVSwitches: one device or many, each judged for itself and then as a set. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { judge, type Check } from '../../attestation/core/verdict.ts';
import { nvidiaAnchors } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import type { DeviceEvidence } from '../../attestation/nvidia-gpu/evidence.ts';
import {
  verifyGpuReport,
  type StandaloneClaims,
  type UnjudgedCheck,
} from '../../attestation/nvidia-gpu/question.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import type { ReportKind } from '../../attestation/nvidia-gpu/spdm.ts';
import { appraiseTopology } from '../../attestation/nvidia-gpu/topology.ts';
import { usageRefusals } from './failure.ts';
import { readDocument, readSimulatedRoots } from './evidence-files.ts';
import { readNvidiaCollateral } from './evidence-nvidia-collateral.ts';
import { readNvidiaDevices, type NamedDevice } from './evidence-nvidia-devices.ts';
import type { Judgement } from './evidence-output.ts';
import type { VerifyOptions } from './evidence-questions.ts';

type JudgedDevice = Exclude<Awaited<ReturnType<typeof verifyGpuReport>>, { outcome: 'refused' }>;

/**
 * Judges the devices of a file. The first that is refused ends it.
 *
 * @throws RefusalError `argument-invalid`, `file-*`, `evidence-*`, and what reading the files throws
 */
export async function judgeNvidia(
  path: string,
  kind: ReportKind,
  options: VerifyOptions,
): Promise<Judgement> {
  const devices = await readNvidiaDevices(path, kind, options.chain);
  if (devices.some(({ certificates }) => certificates.length === 0)) {
    throw invalid('chain', 'the certificates of the report', 'no such option');
  }
  const inputs = await readInputs(devices, options);
  const judged: JudgedDevice[] = [];
  for (const device of devices) {
    const verdict = await verifyGpuReport(await questionOf(device, inputs, options));
    const checks = verdict.checks.map((check) => named(check, device, devices));
    if (verdict.outcome === 'refused') {
      const before = judged.flatMap((earlier) => earlier.checks).filter(isMade);
      return { ...verdict, checks: [...before, ...checks.filter(isMade)] };
    }
    judged.push({ ...verdict, checks } as JudgedDevice);
  }
  const [only, ...others] = judged;
  return only !== undefined && others.length === 0 ? only : await judgeSet(judged);
}

/** Checks of one device among several say of which. */
function named<C extends Check | UnjudgedCheck>(
  check: C,
  { path }: NamedDevice,
  { length }: readonly NamedDevice[],
): C {
  return length === 1 ? check : { ...check, field: `${path} ${check.field}` };
}

function isMade(check: Check | UnjudgedCheck): check is Check {
  return check.outcome !== 'unjudged';
}

async function judgeSet(judged: readonly JudgedDevice[]): Promise<Judgement> {
  const devices = judged.map(({ claims }): StandaloneClaims => claims);
  const verdict = await judge((checks) => {
    appraiseTopology(devices, checks);
    return { devices };
  });
  const checks = judged.flatMap((device): readonly (Check | UnjudgedCheck)[] => device.checks);
  if (verdict.outcome === 'refused') {
    return { ...verdict, checks: [...checks.filter(isMade), ...verdict.checks] };
  }
  const all = [...checks, ...verdict.checks];
  const made = all.filter(isMade);
  const claims = { devices };
  return made.length === all.length
    ? { outcome: 'accepted', claims, checks: made }
    : { outcome: 'inspected', claims, checks: all };
}

interface Inputs {
  readonly anchors: readonly TrustAnchor[];
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  readonly references: readonly JsonValue[];
}

async function readInputs(
  devices: readonly NamedDevice[],
  { rim = [], ocsp = [], ...options }: VerifyOptions,
): Promise<Inputs> {
  return {
    anchors: await readAnchors(options),
    collateral: await readNvidiaCollateral(devices.map(evidenceOf), { rim, ocsp }),
    references: await Promise.all(options.reference.map(readDocument)),
  };
}

/** Where there is a simulated root, no real one is an anchor (CL-15). */
async function readAnchors({
  simulatedRoot,
  simulatedManifestRoot = [],
}: VerifyOptions): Promise<readonly TrustAnchor[]> {
  const devices = await readSimulatedRoots(simulatedRoot);
  const manifests = await readSimulatedRoots(simulatedManifestRoot);
  if (devices.length + manifests.length === 0) return nvidiaAnchors;
  return [...devices, ...manifests.map((anchor) => ({ ...anchor, purpose: 'reference-values' as const }))];
}

const CLASS_NAMES: Readonly<Record<ReportKind, string>> = { gpu: 'nvidia-gpu', switch: 'nvswitch' };

async function questionOf(
  { kind, report, certificates, hints }: NamedDevice,
  { anchors, collateral, references }: Inputs,
  options: VerifyOptions,
): Promise<Parameters<typeof verifyGpuReport>[0]> {
  const option = kind === 'switch' && options.nvidiaGpu !== undefined ? 'nvswitchPolicy' : 'policy';
  const file = options[option];
  if (file === undefined) {
    throw invalid(option, `a policy for devices of the class ${CLASS_NAMES[kind]}`, 'none');
  }
  return {
    ...{ kind, report, certificates, anchors, collateral },
    time: options.at,
    expectedNonce: options.nonce,
    architectureLabel: hints['arch'],
    appraisal: {
      policy: await readDocument(file),
      referenceValues: references.filter((document) => isOf(CLASS_NAMES[kind], document)),
    },
  };
}

/** Reference values for switches say nothing of GPUs; what names neither goes to the verifier, which refuses it. */
function isOf(className: string, document: JsonValue): boolean {
  if (typeof document !== 'object' || document === null || !('class' in document)) return true;
  const named = document['class'];
  return named === className || !Object.values(CLASS_NAMES).some((other) => other === named);
}

function evidenceOf({ kind, path, report, certificates }: NamedDevice): DeviceEvidence {
  return { report: readDeviceReport(report, kind, path), certificates };
}

function invalid(field: string, expected: string, found: string): Error {
  return usageRefusals.error('argument-invalid', { field, expected, found });
}
