/** Challenges: a nonce for one release request (docs/spec/release-protocol.md section 4). Free of HTTP. */

import { randomBytes } from 'node:crypto';

import { toBase64 } from '../../attestation/core/bytes.ts';
import { deviceSetText } from '../../attestation/core/composite/device-set.ts';
import { deviceSetsOf } from '../governance/device-sets.ts';
import type { GovernanceState } from '../governance/state.ts';
import { VERIFIED_CLASSES } from './device-classes.ts';
import type { GovernanceLog } from './governance-log.ts';
import type { ChallengeAnswer, ChallengeRequest, RequestedDevice } from './messages.ts';
import { capacityRefusals, challengeRefusals } from './refusals.ts';
import type { Challenge, ServerStorage } from './storage.ts';

/** RP-14. Long enough for a slow TPM, short enough that evidence is fresh. */
const CHALLENGE_SECONDS = 120;
const NONCE_BYTES = 32;
const HANDLE_BYTES = 16;

export interface ChallengeContext {
  readonly governance: GovernanceLog;
  readonly storage: ServerStorage;
  readonly maxOpenChallenges: number;
}

/** A random name for something that the server hands out: 16 bytes in lower-case hexadecimal. */
export function randomHandle(): string {
  return randomBytes(HANDLE_BYTES).toString('hex');
}

/**
 * Hands out a nonce. It says nothing about whether the lab or the model exists: that is judged with the evidence.
 *
 * @throws RefusalError `challenge-not-possible`, `server-busy`
 */
export function openChallenge(context: ChallengeContext, request: ChallengeRequest): ChallengeAnswer {
  const { governance, storage, maxOpenChallenges } = context;
  const now = governance.now();
  const asked = requestedDevices(governance.state);
  const nonce = randomBytes(NONCE_BYTES);
  const challenge: Omit<Challenge, 'opened'> = {
    challenge: randomHandle(),
    nonce,
    lab: request.lab,
    manifestDigest: request.manifestDigest,
    expiresAt: now + CHALLENGE_SECONDS,
  };
  if (!storage.openChallenge(challenge, maxOpenChallenges, now)) {
    const expected = `at most ${maxOpenChallenges} open challenges`;
    throw capacityRefusals.error('server-busy', { field: 'challenges', expected, found: 'as many' });
  }
  return {
    version: 1,
    challenge: challenge.challenge,
    nonce: toBase64(nonce),
    origin: governance.state.origin,
    ...asked,
    expiresAt: challenge.expiresAt,
  };
}

/** Only what this server can verify is asked for: a set with a class that nothing is said of leads to no grant. */
function requestedDevices(state: GovernanceState): Pick<ChallengeAnswer, 'devices' | 'deviceSets'> {
  const policy = state.releasePolicy?.policy;
  if (policy === undefined) throw notPossible('a policy in force', 'none');
  const requests = new Map<string, RequestedDevice>();
  for (const [name, { request }] of VERIFIED_CLASSES) {
    const asked = request(policy);
    if (asked !== undefined) requests.set(name, asked);
  }
  const declared = deviceSetsOf(policy);
  const possible = declared.filter((set) => set.every((demand) => requests.has(demand.class)));
  if (possible.length === 0) {
    const found = declared.map(deviceSetText).join(', or ');
    throw notPossible('a set of device classes that the policy speaks of and this server verifies', found);
  }
  const deviceSets = possible.map((set) => set.map(({ class: name, count }) => ({ class: name, count })));
  const named = new Set(deviceSets.flat().map((demand) => demand.class));
  const devices = [...requests].filter(([name]) => named.has(name));
  return { devices: devices.map(([, request]) => request), deviceSets };
}

function notPossible(expected: string, found: string): Error {
  return challengeRefusals.error('challenge-not-possible', { field: 'releasePolicy', expected, found });
}

/** What of a release request is compared with its challenge. */
interface ChallengedRequest {
  readonly lab: string;
  readonly manifestDigest: string;
}

/**
 * Uses a challenge up, before anything else of its request is judged (RP-15): whatever is refused after this, the nonce is
 * gone.
 *
 * @returns the challenge that this request, and no other, answers
 * @throws RefusalError `challenge-used`, `challenge-unknown`
 */
export function consumeChallenge(storage: ServerStorage, challenge: string): Challenge {
  const consumption = storage.consumeChallenge(challenge);
  if (consumption.outcome === 'consumed') return consumption.challenge;
  const code = consumption.outcome === 'used' ? 'challenge-used' : 'challenge-unknown';
  const facts = { field: 'request.challenge', expected: 'an open challenge', found: challenge };
  throw challengeRefusals.error(code, facts);
}

/** @param now POSIX seconds @throws RefusalError `challenge-expired`, `challenge-mismatch` */
export function checkChallenge(
  challenge: Omit<Challenge, 'challenge'>,
  request: ChallengedRequest,
  now: number,
): void {
  if (now >= challenge.expiresAt) {
    const expected = `an answer before ${challenge.expiresAt}`;
    throw challengeRefusals.error('challenge-expired', {
      field: 'request.challenge',
      expected,
      found: String(now),
    });
  }
  for (const member of ['lab', 'manifestDigest'] as const) {
    if (challenge[member] === request[member]) continue;
    const facts = { field: `request.${member}`, expected: challenge[member], found: request[member] };
    throw challengeRefusals.error('challenge-mismatch', facts);
  }
}
