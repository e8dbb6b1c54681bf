/** Attestation results as signed tokens (docs/spec/attestation-result.md): signed by a server, verified by anybody offline. */

import { fromHex } from '../../attestation/core/bytes.ts';
import { tierOfVector, worstTier } from '../../attestation/core/ear/trust-vector.ts';
import {
  attestationResultClaims,
  policyIdentifier,
  readAttestationResult,
  type AttestationResult,
  type ClaimedResult,
} from '../../attestation/core/ear/result.ts';
import { toBase64Url } from '../../attestation/core/signature.ts';
import { defineChecks, judge, type Checklist, type Verdict } from '../../attestation/core/verdict.ts';
import { verifyEd25519, type Ed25519Signer } from './ed25519.ts';
import {
  base64UrlToHex,
  keyIdentifierOf,
  readToken,
  signToken,
  type ClaimedToken,
} from './json-web-token.ts';

export const resultAuthenticityChecks = defineChecks('inauthentic', {
  'ear-key': {
    means: 'A result names another key than the one of this server.',
    hint: 'Check that profile and result are of the same server.',
    protects: 'Another server, or anybody, could have made the result.',
  },
  'ear-signature': {
    means: 'A result is not signed by the key of the server.',
    hint: 'The result was altered. Fetch it again from where the grant came from.',
    protects: 'Anybody could write a result.',
  },
  'ear-origin': {
    means: 'A result is of the log of another server.',
    hint: 'Check that profile and result are of the same server.',
    protects: 'The decision that a result names could be looked up in a log that does not hold it.',
  },
  'ear-nonce': {
    means: 'A result answers another challenge.',
    hint: 'Give the nonce of the challenge that this result is for.',
    protects: 'A result of the past could be shown again.',
  },
});

export const resultChecks = defineChecks('unacceptable', {
  'ear-time': {
    means: 'A result is not good at this time: it is of the future, or the lease of its decision has ended.',
    hint: 'Ask the machine for the result of its present lease, or name the time of interest with --at.',
    protects: 'A machine whose lease ended could go on to show what it once was.',
  },
  'ear-status': {
    means: 'A result calls a device, or the machine, better than its own trustworthiness claims allow.',
    hint: 'Do not use the result; ask the operator of the server.',
    protects: 'A relying party that reads the status alone would be misled.',
  },
  'ear-policy': {
    means: 'A result names one release policy for the decision and another one for a device.',
    hint: 'Do not use the result; ask the operator of the server.',
    protects: 'A device could be shown as judged by a policy that was not in force.',
  },
});

/** A machine of 32 devices has less than half of it. */
const MAX_RESULT_BYTES = 64 * 1024;

/** @throws RefusalError `hex-malformed`, `json-malformed` */
export function signAttestationResult(result: AttestationResult, signer: Ed25519Signer): Promise<string> {
  const nonceText = toBase64Url(fromHex(result.nonce, 'result.nonce'));
  return signToken(attestationResultClaims(result, nonceText), signer);
}

/** What a verifier of a result knows. */
export interface ResultExpectations {
  /** Ed25519, 32 bytes. */
  readonly publicKey: Uint8Array;
  readonly logOrigin: string;
  /** POSIX seconds. */
  readonly time: number;
  /** 32 bytes in hex; undefined when the caller asked no challenge and wants to know what is still good. */
  readonly nonce: string | undefined;
}

/** The verdict on a token from anybody. */
export function verifyAttestationResult(
  text: string,
  expected: ResultExpectations,
): Promise<Verdict<ClaimedResult>> {
  return judge((checks) => {
    const token = readToken(text, { maxBytes: MAX_RESULT_BYTES }, 'result');
    authenticate(token, expected.publicKey, checks);
    const result = readAttestationResult(token.payload, base64UrlToHex);
    demandPurpose(result, expected, checks);
    noteTime(result, expected.time, checks);
    noteStatus(result, checks);
    notePolicy(result, checks);
    return result;
  });
}

function authenticate(token: ClaimedToken, publicKey: Uint8Array, checks: Checklist): void {
  const identifier = keyIdentifierOf(publicKey);
  checks.demand(resultAuthenticityChecks, 'ear-key', token.keyIdentifier === identifier, {
    field: 'result.header.kid',
    expected: identifier,
    found: token.keyIdentifier,
  });
  const holds = verifyEd25519(publicKey, token.signingInput, token.signature);
  checks.demand(resultAuthenticityChecks, 'ear-signature', holds, {
    field: 'result.signature',
    expected: 'a signature by the key of the server',
    found: holds ? 'one' : 'one that does not verify',
  });
}

function demandPurpose(
  { nonce, decision }: ClaimedResult,
  expected: ResultExpectations,
  checks: Checklist,
): void {
  checks.demand(resultAuthenticityChecks, 'ear-origin', decision.logOrigin === expected.logOrigin, {
    field: 'result.decision.logOrigin',
    expected: expected.logOrigin,
    found: decision.logOrigin,
  });
  if (expected.nonce === undefined) return;
  checks.demand(resultAuthenticityChecks, 'ear-nonce', nonce === expected.nonce, {
    field: 'result.eat_nonce',
    expected: expected.nonce,
    found: nonce,
  });
}

function noteTime({ issuedAt, expiresAt }: ClaimedResult, time: number, checks: Checklist): void {
  checks.note(resultChecks, 'ear-time', issuedAt <= time && time < expiresAt, {
    field: 'result.exp',
    expected: `a time from ${issuedAt} until before ${expiresAt}`,
    found: String(time),
  });
}

function noteStatus({ status, statuses, devices }: ClaimedResult, checks: Checklist): void {
  const tiers = devices.map(({ trustVector }) => tierOfVector(trustVector));
  const expected = [worstTier(tiers), ...tiers].join(', ');
  const found = [status, ...statuses].join(', ');
  checks.note(resultChecks, 'ear-status', expected === found, {
    field: 'result.ear_status',
    expected,
    found,
  });
}

function notePolicy({ policies, decision }: ClaimedResult, checks: Checklist): void {
  const expected = policyIdentifier(decision.releasePolicyDigest);
  const holds = policies.length > 0 && policies.every((policy) => policy === expected);
  checks.note(resultChecks, 'ear-policy', holds, {
    field: 'result.submods',
    expected,
    found: [...new Set(policies)].join(', ') || 'none',
  });
}
