/**
 * What an agent checks before it uses a grant (docs/spec/release-protocol.md section 6). A grant comes from the
 * network; until the decision behind it is proven to stand in the log that the profile pins, it is only claimed (W2).
 */

import { createHash } from 'node:crypto';

import { z } from 'zod';

import { fromBase64, toHex } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { defineRefusals, RefusalError } from '../../attestation/core/refusal.ts';
import { decodeEntry, type DecisionEntry, type Lease } from '../governance/entries.ts';
import { verifyTlogProof, type ProofTrust } from '../log/tlog-proof.ts';
import { verifyAttestationResult } from '../platform/attestation-result.ts';
import { openModelKey, type AgentKeyPair } from '../platform/grant-wrap.ts';
import { readShape } from '../platform/shape.ts';

export const grantCheckRefusals = defineRefusals('inauthentic', {
  'grant-not-a-grant': {
    means: 'The log entry that came with a grant is not a decision that grants.',
    hint: 'The server or somebody between altered the answer. Do not use this server before that is explained.',
  },
  'grant-mismatch': {
    means: 'The logged decision is about something else than what this agent asked for.',
    hint: 'The answer belongs to another request. Do not use this server before that is explained.',
  },
});

const grantSchema = z.strictObject({
  version: z.literal(1),
  entry: z.string(),
  proof: z.string(),
  encapsulatedKey: z.string(),
  wrappedKey: z.string(),
  attestationResult: z.string(),
});

/** What the agent asked for. Every member is its own knowledge, none comes from the answer. */
export interface GrantExpectations {
  readonly log: ProofTrust;
  readonly lab: string;
  readonly purpose: string;
  /** Lower-case hex SHA-256. */
  readonly manifestDigest: string;
  /** Lower-case hex SHA-256. */
  readonly inferencePolicyDigest: string;
  readonly keyPair: AgentKeyPair;
  /** The nonce of the challenge, 32 bytes. */
  readonly nonce: Uint8Array;
  /** Lower-case hex SHA-256 of the DSSE payload of the request. */
  readonly requestDigest: string;
  readonly binding: Uint8Array;
  readonly renews: string | null;
}

export interface OpenedGrant {
  /** 32 bytes; the caller zeroises it. */
  readonly modelKey: Uint8Array;
  readonly lease: Lease;
  readonly decision: DecisionEntry;
  /** Place of the decision in the log. */
  readonly logIndex: bigint;
  /** What the server signed about this machine, for others to read (AR-10). */
  readonly attestationResult: string;
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

/**
 * Proves a grant against the log and the request, then opens the model key (RP-25, RP-26, RP-28).
 *
 * @param answer from the network
 * @throws RefusalError `grant-*`, `log-*`, `ear-*`, `token-malformed`, `shape-*`, `base64-malformed`, `json-*`
 */
export async function openGrant(answer: JsonValue, expected: GrantExpectations): Promise<OpenedGrant> {
  const grant = readShape(grantSchema, answer, 'grant');
  const entry = fromBase64(grant.entry, 'grant.entry');
  const inclusion = await verifyTlogProof(entry, grant.proof, expected.log);
  const decision = readGrantedDecision(entry);
  checkDecisionIsOurs(decision, expected);
  await checkResult(grant.attestationResult, decision, toHex(inclusion.leafHash), expected);
  const modelKey = await openModelKey(
    {
      origin: expected.log.origin,
      manifestDigest: expected.manifestDigest,
      inferencePolicyDigest: expected.inferencePolicyDigest,
      lease: decision.lease,
      leafHash: inclusion.leafHash,
      binding: expected.binding,
    },
    expected.keyPair,
    {
      encapsulatedKey: fromBase64(grant.encapsulatedKey, 'grant.encapsulatedKey'),
      wrappedKey: fromBase64(grant.wrappedKey, 'grant.wrappedKey'),
    },
  );
  const { attestationResult } = grant;
  return { modelKey, lease: decision.lease, decision, logIndex: inclusion.index, attestationResult };
}

type GrantedDecision = DecisionEntry & { readonly lease: Lease };

function readGrantedDecision(bytes: Uint8Array): GrantedDecision {
  const entry = decodeEntry(bytes);
  if (entry.type !== 'decision' || entry.outcome !== 'granted' || entry.lease === null) {
    throw grantCheckRefusals.error('grant-not-a-grant', {
      field: 'grant.entry',
      expected: 'a granted decision with a lease',
      found: entry.type === 'decision' ? entry.outcome : entry.type,
    });
  }
  const { lease } = entry;
  if (lease.endsAt <= lease.startsAt) {
    throw grantCheckRefusals.error('grant-not-a-grant', {
      field: 'grant.entry.lease',
      expected: 'an end after its start',
      found: `${lease.endsAt - lease.startsAt} seconds`,
    });
  }
  return { ...entry, lease };
}

/** AR-10: nothing rests on the result here, but nobody shall be handed one that is of something else. */
async function checkResult(
  token: string,
  decision: DecisionEntry,
  leafHash: string,
  { log, nonce }: GrantExpectations,
): Promise<void> {
  const key = log.keys.find(({ algorithm }) => algorithm === 'ed25519');
  const verdict = await verifyAttestationResult(token, {
    publicKey: key?.publicKey ?? new Uint8Array(),
    logOrigin: log.origin,
    time: decision.at,
    nonce: toHex(nonce),
  });
  if (verdict.outcome === 'refused') throw new RefusalError(verdict.family, verdict.refusals[0]);
  const found = verdict.claims.decision.leafHash;
  if (found === leafHash) return;
  const facts = { field: 'grant.attestationResult.decision.leafHash', expected: leafHash, found };
  throw grantCheckRefusals.error('grant-mismatch', facts);
}

type KnownMember = {
  [Member in keyof DecisionEntry]: DecisionEntry[Member] extends string | null ? Member : never;
}[keyof DecisionEntry];

/** RP-26: each member of the decision that the agent can know must be what it knows. */
function checkDecisionIsOurs(decision: DecisionEntry, expected: GrantExpectations): void {
  const pairs: readonly (readonly [KnownMember, string | null])[] = [
    ['lab', expected.lab],
    ['purpose', expected.purpose],
    ['manifestDigest', expected.manifestDigest],
    ['inferencePolicyDigest', expected.inferencePolicyDigest],
    ['agentKeyDigest', sha256Hex(expected.keyPair.publicKey)],
    ['challengeDigest', sha256Hex(expected.nonce)],
    ['requestDigest', expected.requestDigest],
    ['renews', expected.renews],
  ];
  for (const [member, value] of pairs) {
    if (decision[member] !== value) {
      throw grantCheckRefusals.error('grant-mismatch', {
        field: `grant.entry.${member}`,
        expected: String(value),
        found: String(decision[member]),
      });
    }
  }
}
