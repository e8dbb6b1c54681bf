/** What a server's attestation result says: taken from the decision as it stands in the log, and from nothing later (AR-5). */

import { toHex } from '../../attestation/core/bytes.ts';
import type { AttestationResult, DeviceResult } from '../../attestation/core/ear/result.ts';
import { decodeEntry } from '../governance/entries.ts';
import type { GovernanceState } from '../governance/state.ts';
import type { RecordedEntry } from './governance-log.ts';

/** A granted decision that is durable in the log, with what the entry does not hold. */
export interface GrantedDecision {
  readonly recorded: RecordedEntry;
  /** Of the challenge, 32 bytes. The entry has its digest alone (RP-33). */
  readonly nonce: Uint8Array;
  readonly devices: readonly DeviceResult[];
}

/** @throws TypeError when the entry is no grant: a defect of the caller */
export function resultOf(
  { recorded, nonce, devices }: GrantedDecision,
  { mode, origin }: Pick<GovernanceState, 'mode' | 'origin'>,
): AttestationResult {
  const entry = decodeEntry(recorded.entry);
  if (entry.type !== 'decision' || entry.lease === null || entry.releasePolicyDigest === null) {
    throw new TypeError('a result is made of grants alone');
  }
  const { lab, manifestDigest, agentKeyDigest, evidenceDigest } = entry;
  const { releasePolicyDigest, referenceValuesDigest, serverBuild } = entry;
  return {
    issuedAt: entry.at,
    expiresAt: entry.lease.endsAt,
    build: serverBuild,
    nonce: toHex(nonce),
    devices,
    decision: {
      ...{ mode, lab, manifestDigest, agentKeyDigest, evidenceDigest },
      ...{ releasePolicyDigest, referenceValuesDigest, logOrigin: origin },
      logIndex: Number(recorded.index),
      leafHash: toHex(recorded.leafHash),
    },
  };
}
