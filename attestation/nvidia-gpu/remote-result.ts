/**
 * The result of NVIDIA's remote attestation service (NRAS) about a device, where the policy demands one. It comes on top of
 * everything that is judged here: it shows what another verifier saw and stands in for nothing
 * (docs/spec/nvidia-nras.md).
 */

import type { CertificateMemory } from '../core/certificate-memory.ts';
import type { TrustAnchor } from '../core/certificate-path.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { AuthenticReport } from './authenticate.ts';
import type { DevicePolicy } from './documents.ts';
import { certifiedKeys, readKeySet } from './nras/key-set.ts';
import { judgeNrasAnswer, NRAS_ISSUER, NRAS_KEYS_NAME, nrasCollateralName } from './nras/verify.ts';

export const remoteResultChecks = defineChecks('inauthentic', {
  'gpu-remote-result': {
    means:
      'The policy demands a result of NVIDIA’s remote service, and it or the keys of the service are not there.',
    hint: 'Ask the service about this evidence and fetch its key set, or have the operator’s policy do without.',
    protects: 'The second opinion that the operator wants could be left out.',
  },
});

/** What the service vouched for. Times are POSIX seconds. */
export interface RemoteResultClaims {
  /** The service, as its tokens name it. */
  readonly issuer: string;
  /** When it judged the device. */
  readonly issuedAt: number;
  /** Until when it stands by that. */
  readonly expiresAt: number;
}

export interface RemoteResultInputs {
  readonly policy: DevicePolicy;
  readonly anchors: readonly TrustAnchor[];
  readonly collateral: ReadonlyMap<string, Uint8Array>;
  /** POSIX seconds. */
  readonly time: number;
  readonly memory?: CertificateMemory | undefined;
}

export interface RemoteResult {
  /** Null where the policy demands none; then what the collateral has is not looked at. */
  readonly claims: RemoteResultClaims | null;
  readonly isSimulated: boolean;
}

/** @throws RefusalError `gpu-remote-result`, `nras-*`, `shape-*`, and what reading certificates throws */
export async function judgeRemoteResult(
  { report, chain }: AuthenticReport,
  { policy, anchors, collateral, time, memory }: RemoteResultInputs,
  checks: Checklist,
): Promise<RemoteResult> {
  if (policy.remoteResult === 'not-used') return { claims: null, isSimulated: false };
  const name = nrasCollateralName(chain.leaf.certificate);
  const answer = demandCollateral(name, collateral, checks);
  const keySet = demandCollateral(NRAS_KEYS_NAME, collateral, checks);
  const keyOf = certifiedKeys(readKeySet(keySet, NRAS_KEYS_NAME), { anchors, time, memory });
  const evidence = {
    kind: report.kind,
    leafSerialNumber: chain.leaf.certificate.serialNumber,
    driverVersion: report.kind === 'gpu' ? report.fields.driverVersion : undefined,
    vbiosVersion: report.fields.vbiosVersion,
  };
  const { nonce } = report.message.request;
  const question = { evidence: [evidence], nonce, issuer: NRAS_ISSUER, time };
  const { issuer, issuedAt, expiresAt, simulated } = await judgeNrasAnswer(answer, question, keyOf, checks);
  return { claims: { issuer, issuedAt, expiresAt }, isSimulated: simulated };
}

function demandCollateral(
  name: string,
  collateral: RemoteResultInputs['collateral'],
  checks: Checklist,
): Uint8Array {
  const bytes = collateral.get(name);
  checks.demand(remoteResultChecks, 'gpu-remote-result', bytes !== undefined, {
    field: name,
    expected: 'an answer of the service, or its keys',
    found: bytes === undefined ? 'none' : 'one',
  });
  return bytes;
}
