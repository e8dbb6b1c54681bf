/** Devices as files of vectors hold them: one report with its chain, or JSON of NVIDIA's tools with several. */

import { fromHex } from '../../attestation/core/bytes.ts';
import type { Checklist } from '../../attestation/core/verdict.ts';
import { nvidiaAnchors } from '../../attestation/nvidia-gpu/anchors/nvidia-roots.ts';
import { authenticateReport } from '../../attestation/nvidia-gpu/authenticate.ts';
import type { AuthenticReport } from '../../attestation/nvidia-gpu/authenticate.ts';
import { CHIP_FAMILIES } from '../../attestation/nvidia-gpu/chips.ts';
import { demandArchitecture } from '../../attestation/nvidia-gpu/claimed-architecture.ts';
import { readDeviceReport } from '../../attestation/nvidia-gpu/report.ts';
import type { ReportKind } from '../../attestation/nvidia-gpu/spdm.ts';
import { readPresentedDevices } from '../../src/cli/evidence-nvidia-files.ts';
import { contextText, timeOf } from './vector-nvidia-case.ts';
import type { NvidiaCase } from './vector-nvidia-case.ts';

/** A device with what it is passed off as. */
export interface PresentedEvidence {
  readonly report: Uint8Array;
  /** DER, from the leaf upwards. */
  readonly certificates: readonly Uint8Array[];
  readonly kind: ReportKind;
  /** The label beside it, which nobody signed. */
  readonly architecture: string;
}

/** The devices of a JSON file, in its order. @throws RefusalError */
export function presentedDevices(bytes: Uint8Array, path: string): readonly PresentedEvidence[] {
  return readPresentedDevices(bytes, path).map(({ report, certificates, hints }) => {
    const architecture = hints['arch'] ?? '';
    return { report, certificates, architecture, kind: kindOf(architecture) };
  });
}

/** Which kind of device a label is for. */
export function kindOf(architecture: string): ReportKind {
  return CHIP_FAMILIES.find((family) => family.architecture === architecture)?.kind ?? 'gpu';
}

/** What a case asks of its devices. */
export interface Challenge {
  /** 32 bytes. */
  readonly expectedNonce: Uint8Array;
  /** POSIX seconds. */
  readonly time: number;
  /** Versions of drivers that need not name their firmware; none where it is not given. */
  readonly driversWithoutFwid?: readonly string[];
}

export function challengeOf(subject: NvidiaCase): Challenge {
  return { expectedNonce: nonceOf(subject), time: timeOf(subject) };
}

/** The nonce that the case expects, 32 bytes. */
export function nonceOf(subject: NvidiaCase): Uint8Array {
  return fromHex(contextText(subject, 'expected_nonce'), 'expected_nonce');
}

/** The report under NVIDIA's own anchors, and nothing loosened by a policy. @throws RefusalError */
export async function authenticate(
  { report: bytes, certificates, kind, architecture }: PresentedEvidence,
  challenge: Challenge,
  checks: Checklist,
): Promise<AuthenticReport> {
  const report = readDeviceReport(bytes, kind);
  const inputs = { driversWithoutFwid: [], ...challenge, anchors: nvidiaAnchors };
  const authentic = await authenticateReport({ report, certificates }, inputs, checks);
  demandArchitecture(architecture, authentic, checks);
  return authentic;
}
