/**
 * Whether NVIDIA's remote attestation service judged exactly these devices, just now, for this question, and found each of
 * them good (docs/spec/nvidia-nras.md). It shows what NVIDIA saw, not who showed it: the evidence itself must be verified too.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { equalBytes, toHex } from '../../core/bytes.ts';
import type { CertificateMemory } from '../../core/certificate-memory.ts';
import type { TrustAnchor } from '../../core/certificate-path.ts';
import { verifySignature } from '../../core/signature.ts';
import { defineChecks, judge } from '../../core/verdict.ts';
import type { Checklist, Verdict } from '../../core/verdict.ts';
import type { Certificate } from '../../core/x509.ts';
import { readNrasAnswer } from './answer.ts';
import type { ClaimedNrasAnswer } from './answer.ts';
import { readCommonClaims, readDeviceClaims, readFailure, readOverallClaims } from './claims.ts';
import type { NrasDeviceClaims, NrasDeviceKind, OverallClaims } from './claims.ts';
import { certifiedKeys, readKeySet } from './key-set.ts';
import type { KeyFinder, TokenKey } from './key-set.ts';
import { keyIdOf } from './token.ts';
import type { ClaimedToken } from './token.ts';

export const nrasChecks = defineChecks('inauthentic', {
  'nras-algorithm': {
    means: 'A token asks to be verified by another algorithm than ES384.',
    hint: 'Use the answer of the service; a token that is not signed, or with a shared key, proves nothing.',
    protects: 'The sender of a token could choose how it is verified, or that it is not.',
  },
  'nras-submodules': {
    means: 'The device tokens are not those that the overall token vouches for.',
    hint: 'Tokens of several answers were mixed, or one was added or left out.',
    protects: 'A good overall token could be put over tokens of other devices.',
  },
  'nras-key': {
    means: 'A token names a key that the service is not known to have.',
    hint: 'Fetch the key set of the service anew.',
    protects: 'Anybody could sign tokens with a key of his own.',
  },
  'nras-signature': {
    means: 'A token is not signed by the key that it names.',
    hint: 'The token was altered.',
    protects: 'Whoever passes a token on could write into it what he likes.',
  },
  'nras-issuer': {
    means: 'A token is from another issuer.',
    hint: 'Ask the service in production; NVIDIA’s staging service is another issuer.',
    protects: 'A service for trials could vouch for devices in production.',
  },
  'nras-time': {
    means: 'A token is not valid at the time of verification, or for longer than an hour.',
    hint: 'Ask the service again, or check the clock of the verifier.',
    protects: 'A judgement of the past could pass for one of now.',
  },
  'nras-nonce': {
    means: 'A token is not about the nonce of this verification.',
    hint: 'Ask the service with the evidence that was collected for this challenge.',
    protects: 'A judgement of evidence from another time or machine could be shown again.',
  },
  'nras-device-failed': {
    means: 'The service could not judge a device.',
    hint: 'The message is the service’s own; look it up in its documentation.',
    protects: 'A device that failed could stand under an overall token that is in order.',
  },
  'nras-overall': {
    means: 'The service’s overall result is negative.',
    hint: 'Look at the results of the devices.',
    protects: 'Devices that the service rejects could be used.',
  },
  'nras-device-claims': {
    means: 'The service found something about a device that is not as it should be.',
    hint: 'The claims are named; update firmware and driver to a release for which NVIDIA publishes manifests.',
    protects: 'A device in debug mode, or with firmware that is not NVIDIA’s, could be used.',
  },
  'nras-device-count': {
    means: 'The service judged another number of devices than there is evidence of.',
    hint: 'Send the service the evidence of all devices, and of no others.',
    protects: 'Devices could go unjudged.',
  },
  'nras-other-device': {
    means: 'The service judged another device than the one whose evidence is here.',
    hint: 'Send the service the same evidence as the verifier.',
    protects: 'A good device could be judged in the place of the one that is used.',
  },
});

/** The service in production, as its tokens name it. */
export const NRAS_ISSUER = 'https://nras.attestation.nvidia.com';

/** Under which name the answer about one device stands in its collateral. */
export function nrasCollateralName({ encoded }: Pick<Certificate, 'encoded'>): string {
  return `nras:${toHex(sha256(encoded))}`;
}

/** Under which name the key set of the service stands in the collateral. */
export const NRAS_KEYS_NAME = 'nras-keys';

/** What is known of a device from its own evidence, whose signature the caller has verified. */
export interface NrasEvidence {
  readonly kind: NrasDeviceKind;
  /** Of the leaf certificate: content of the INTEGER. */
  readonly leafSerialNumber: Uint8Array;
  /** As the signed report has them; a switch has no driver version. */
  readonly driverVersion: string | undefined;
  readonly vbiosVersion: string;
}

export interface NrasQuestion {
  /** All devices about which the service was asked, in any order. */
  readonly evidence: readonly NrasEvidence[];
  /** 32 bytes. */
  readonly nonce: Uint8Array;
  readonly issuer: string;
  /** POSIX seconds. */
  readonly time: number;
}

export interface NrasInputs extends NrasQuestion {
  /** The key set of the service, as it was fetched. */
  readonly keys: Uint8Array;
  /** Those for attestation results count. */
  readonly anchors: readonly TrustAnchor[];
  readonly memory?: CertificateMemory | undefined;
}

/** What the service vouches for. All of it is JSON. */
export interface NrasClaims {
  readonly issuer: string;
  readonly claimsVersion: string;
  /** POSIX seconds. */
  readonly issuedAt: number;
  readonly expiresAt: number;
  readonly simulated: boolean;
  readonly devices: readonly NrasDeviceResult[];
}

export interface NrasDeviceResult {
  /** As the service calls it: kind and position in its request. */
  readonly name: string;
  readonly ueid: string;
  readonly hwmodel: string;
  readonly driverVersion: string | null;
  readonly vbiosVersion: string;
}

const FIELD = 'nras';
/** How far the clock of the service may be ahead of ours. */
const CLOCK_TOLERANCE_SECONDS = 60;
/** What the service gives its tokens. */
const MAX_LIFETIME_SECONDS = 3600;
const SIGNATURE_BYTES = 96;

/** The verdict on an answer. @param answer what the service answered, byte for byte */
export function verifyNrasAnswer(answer: Uint8Array, inputs: NrasInputs): Promise<Verdict<NrasClaims>> {
  return judge((checks) => {
    const keyOf = certifiedKeys(readKeySet(inputs.keys, NRAS_KEYS_NAME), inputs);
    return judgeNrasAnswer(answer, inputs, keyOf, checks);
  });
}

/**
 * An answer as a part of a larger verification. The claims are worth what the checklist says in the end.
 *
 * @throws RefusalError `nras-*`, `shape-*`, and what `keyOf` throws
 */
export async function judgeNrasAnswer(
  answer: Uint8Array,
  question: NrasQuestion,
  keyOf: KeyFinder,
  checks: Checklist,
): Promise<NrasClaims> {
  const claimed = readNrasAnswer(answer, FIELD);
  const tokens = namedTokens(claimed);
  for (const token of tokens) demandAlgorithm(token, checks);
  const overall = readOverallClaims(claimed.overall.payload, `${FIELD}.overall`);
  demandSubmodules(claimed, overall, checks);
  const keys: TokenKey[] = [];
  for (const token of tokens) keys.push(await authenticate(token, keyOf, checks));
  for (const token of tokens) demandIssuerAndTime(token, question, checks);
  demandNonce('overall', overall.eat_nonce, question.nonce, checks);
  const devices = judgeDevices(claimed, overall, question, checks);
  demandEvidence(devices, question.evidence, checks);
  return {
    issuer: overall.iss,
    claimsVersion: overall['x-nvidia-ver'],
    issuedAt: overall.iat,
    expiresAt: overall.exp,
    simulated: keys.some(({ simulated }) => simulated),
    devices: devices.map(([name, { ueid, hwmodel, driverVersion, vbiosVersion }]) => ({
      name,
      ueid,
      hwmodel,
      driverVersion: driverVersion ?? null,
      vbiosVersion,
    })),
  };
}

type NamedToken = readonly [name: string, token: ClaimedToken];

function namedTokens({ overall, devices }: ClaimedNrasAnswer): readonly NamedToken[] {
  return [['overall', overall], ...devices];
}

function demandAlgorithm([name, { algorithm }]: NamedToken, checks: Checklist): void {
  checks.demand(nrasChecks, 'nras-algorithm', algorithm === 'ES384', {
    field: `${FIELD}.${name}.header.alg`,
    expected: 'ES384',
    found: algorithm,
  });
}

/** Both ways: every token is vouched for, and everything that is vouched for is there. */
function demandSubmodules(
  { devices }: ClaimedNrasAnswer,
  { submods }: OverallClaims,
  checks: Checklist,
): void {
  const names = [...new Set([...devices.keys(), ...submods.keys()])].sort();
  const differing = names.filter((name) => {
    const [token, digest] = [devices.get(name), submods.get(name)];
    return token === undefined || digest === undefined || !equalBytes(sha256(token.compact), digest);
  });
  checks.demand(nrasChecks, 'nras-submodules', names.length > 0 && differing.length === 0, {
    field: `${FIELD}.overall.submods`,
    expected: 'one digest of each device token, and no other',
    found:
      differing.length === 0 ? `${names.length} of ${names.length}` : `others for ${differing.join(', ')}`,
  });
}

async function authenticate(
  [name, token]: NamedToken,
  keyOf: KeyFinder,
  checks: Checklist,
): Promise<TokenKey> {
  const field = `${FIELD}.${name}`;
  const expected = 'a key of the service';
  const key = await checks.attempt(nrasChecks, 'nras-key', { field: `${field}.header.kid`, expected }, () =>
    keyOf(keyIdOf(token, field), `${field}.header.kid`),
  );
  const { signature, signingInput } = token;
  const holds =
    signature.length === SIGNATURE_BYTES &&
    (await verifySignature(key.publicKey, { algorithm: 'ecdsa', hash: 'SHA-384' }, signature, signingInput));
  checks.demand(nrasChecks, 'nras-signature', holds, {
    field: `${field}.signature`,
    expected: 'a signature by the key',
    found: holds ? 'one' : `${signature.length} bytes that are none`,
  });
  return key;
}

function demandIssuerAndTime(
  [name, { payload }]: NamedToken,
  question: NrasQuestion,
  checks: Checklist,
): void {
  const field = `${FIELD}.${name}`;
  const { iss, iat, nbf, exp } = readCommonClaims(payload, field);
  checks.demand(nrasChecks, 'nras-issuer', iss === question.issuer, {
    field: `${field}.iss`,
    expected: question.issuer,
    found: iss,
  });
  const start = Math.max(iat, nbf) - CLOCK_TOLERANCE_SECONDS;
  const { time } = question;
  const isShort = exp - iat <= MAX_LIFETIME_SECONDS;
  checks.demand(nrasChecks, 'nras-time', time >= start && time < exp && isShort, {
    field,
    expected: `a token from before ${time} to after it, for at most ${MAX_LIFETIME_SECONDS} seconds`,
    found: `one from ${start} to ${exp}, issued at ${iat}`,
  });
}

function demandNonce(name: string, found: Uint8Array, expected: Uint8Array, checks: Checklist): void {
  checks.demand(nrasChecks, 'nras-nonce', equalBytes(found, expected), {
    field: `${FIELD}.${name}.eat_nonce`,
    expected: toHex(expected),
    found: toHex(found),
  });
}

type NamedClaims = readonly [name: string, claims: NrasDeviceClaims];

/** A failed device speaks first: its message says why the overall result is negative, or that it should have been. */
function judgeDevices(
  { devices }: ClaimedNrasAnswer,
  overall: OverallClaims,
  { nonce }: NrasQuestion,
  checks: Checklist,
): readonly NamedClaims[] {
  for (const token of devices) demandNoFailure(token, checks);
  const result = overall['x-nvidia-overall-att-result'];
  checks.demand(nrasChecks, 'nras-overall', result, {
    field: `${FIELD}.overall.x-nvidia-overall-att-result`,
    expected: 'true',
    found: String(result),
  });
  return [...devices].map((token) => judgeDevice(token, overall, nonce, checks));
}

function demandNoFailure([name, { payload }]: NamedToken, checks: Checklist): void {
  const failure = readFailure(payload, `${FIELD}.${name}`);
  checks.demand(nrasChecks, 'nras-device-failed', failure === undefined, {
    field: `${FIELD}.${name}`,
    expected: 'claims about the device',
    found: failure ?? 'claims',
  });
}

function judgeDevice(
  [name, { payload }]: NamedToken,
  overall: OverallClaims,
  nonce: Uint8Array,
  checks: Checklist,
): NamedClaims {
  const field = `${FIELD}.${name}`;
  const kind = name.startsWith('SWITCH-') ? 'switch' : 'gpu';
  const claims = readDeviceClaims(payload, kind, overall['x-nvidia-ver'], field);
  demandNonce(name, claims.nonce, nonce, checks);
  checks.demand(nrasChecks, 'nras-device-claims', claims.adverse.length === 0, {
    field,
    expected: 'every result of a good device',
    found: claims.adverse.length === 0 ? 'every one' : `others for ${claims.adverse.join(', ')}`,
  });
  return [name, claims];
}

/** Positions in the request mean nothing here: each device is found by the serial number of its leaf, once. */
function demandEvidence(
  devices: readonly NamedClaims[],
  evidence: readonly NrasEvidence[],
  checks: Checklist,
): void {
  checks.demand(nrasChecks, 'nras-device-count', devices.length === evidence.length, {
    field: FIELD,
    expected: `${evidence.length} devices`,
    found: `${devices.length}`,
  });
  const judged = devices.map(([, claims]) => showDevice(claims)).sort();
  const here = evidence
    .map((device) => showDevice({ ...device, ueid: decimal(device.leafSerialNumber) }))
    .sort();
  const strange = judged.findIndex((device, i) => device !== here[i] || device === here[i - 1]);
  checks.demand(nrasChecks, 'nras-other-device', strange < 0, {
    field: FIELD,
    expected: here[Math.max(strange, 0)] ?? 'no device',
    found: judged[Math.max(strange, 0)] ?? 'no device',
  });
}

function showDevice(
  device: Pick<NrasDeviceClaims, 'kind' | 'ueid' | 'driverVersion' | 'vbiosVersion'>,
): string {
  const { kind, ueid, driverVersion, vbiosVersion } = device;
  return `${kind} ${ueid}, driver ${driverVersion ?? 'none'}, VBIOS ${vbiosVersion}`;
}

function decimal(bytes: Uint8Array): string {
  return bytes.reduce((value, byte) => value * 256n + BigInt(byte), 0n).toString();
}
