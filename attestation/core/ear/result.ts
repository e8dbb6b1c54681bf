/**
 * An attestation result as an EAR (draft-ietf-rats-ear-04, docs/spec/attestation-result.md): what a verifier found of each
 * device, in words that relying parties of others read. Claims only; who signs them, and how, is not said here.
 */

import { toHex } from '../bytes.ts';
import type { JsonValue } from '../canonical-json.ts';
import type { AnyDeviceClass, DeviceClaims } from '../device-class.ts';
import { deviceKey } from '../evidence.ts';
import {
  booleanShape,
  hexShape,
  integerShape,
  listShape,
  literalShape,
  mapShape,
  nullableShape,
  objectShape,
  textShape,
} from '../json-shape.ts';
import type { Shape } from '../json-shape.ts';
import { TRUST_CLAIMS, TRUST_TIERS, tierOfVector, TrustValue, worstTier } from './trust-vector.ts';
import type { TrustTier, TrustVector } from './trust-vector.ts';

/** AR-1: the profile of the draft's fourth version. */
export const EAR_PROFILE = 'tag:ietf.org,2026:rats/ear#04';
/** AR-6: our own claims stand in one map under a name of ours. */
const DECISION_CLAIM = 'weightgate.dev/decision';

/** One device of the machine, as it was accepted. */
export interface DeviceResult {
  readonly class: string;
  /** 32 bytes in hex. */
  readonly identity: string;
  readonly model: string;
  readonly simulated: boolean;
  /** How it is known that the device is in this machine; null where what it signed says so itself. */
  readonly attachment: 'software-asserted' | null;
  readonly trustVector: TrustVector;
}

/** Which decision the result belongs to, and by what it was made. Digests are SHA-256 in hex. */
export interface DecisionReference {
  readonly mode: 'evaluation' | 'production';
  readonly lab: string;
  readonly manifestDigest: string;
  readonly agentKeyDigest: string;
  readonly evidenceDigest: string;
  readonly releasePolicyDigest: string;
  readonly referenceValuesDigest: string;
  readonly logOrigin: string;
  readonly logIndex: number;
  /** RFC 6962 leaf hash of the decision entry. */
  readonly leafHash: string;
}

export interface AttestationResult {
  /** POSIX seconds: when the decision was made. */
  readonly issuedAt: number;
  /** POSIX seconds: when its lease ends. */
  readonly expiresAt: number;
  /** Names the program that verified. */
  readonly build: string;
  /** The nonce of the challenge, 32 bytes in hex. */
  readonly nonce: string;
  readonly devices: readonly DeviceResult[];
  readonly decision: DecisionReference;
}

/** The result on one accepted device. Simulated hardware is never affirmed, whatever its class says of it (AR-8). */
export function deviceResult(deviceClass: AnyDeviceClass, claims: DeviceClaims): DeviceResult {
  const vector = deviceClass.trustVectorOf(claims);
  const { simulated, attachment = null } = claims;
  return {
    class: claims.class,
    identity: claims.identity,
    model: deviceClass.modelOf(claims),
    simulated,
    attachment,
    trustVector: simulated ? { ...vector, hardware: TrustValue.unrecognisedHardware } : vector,
  };
}

const DEVELOPER = 'https://weightgate.dev';

/** The claims set of a result. @param nonceText the nonce in base64url */
export function attestationResultClaims(result: AttestationResult, nonceText: string): JsonValue {
  const tiers = result.devices.map(({ trustVector }) => tierOfVector(trustVector));
  const { releasePolicyDigest } = result.decision;
  return {
    eat_profile: EAR_PROFILE,
    iat: result.issuedAt,
    exp: result.expiresAt,
    eat_nonce: nonceText,
    ear_verifier_id: { developer: DEVELOPER, build: result.build },
    ear_status: worstTier(tiers),
    submods: Object.fromEntries(
      result.devices.map((device) => [
        deviceKey(device.class, device.identity),
        appraisalClaims(device, releasePolicyDigest),
      ]),
    ),
    [DECISION_CLAIM]: { ...result.decision },
  };
}

function appraisalClaims(device: DeviceResult, policyDigest: string): JsonValue {
  const { trustVector, model, simulated, attachment } = device;
  return {
    ear_status: tierOfVector(trustVector),
    ear_trustworthiness_vector: Object.fromEntries(
      TRUST_CLAIMS.flatMap((name) => {
        const value = trustVector[name];
        return value === undefined ? [] : [[name, value]];
      }),
    ),
    ear_appraisal_policy_ids: [policyIdentifier(policyDigest)],
    ear_verifier_claims: { model, simulated, attachment },
  };
}

/** How a result names the release policy (AR-5). */
export function policyIdentifier(digest: string): string {
  return `sha256:${digest}`;
}

/** A result as a token claims it, with what it says of its own worth. */
export interface ClaimedResult extends AttestationResult {
  readonly status: TrustTier;
  /** Of each device, in the order of `devices`. */
  readonly statuses: readonly TrustTier[];
  /** The policies by which each device was judged. */
  readonly policies: readonly string[];
}

const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,200}$/ });
const timeShape = integerShape({ min: 0, max: 2 ** 40 });
const digestShape: Shape<string> = (value, path) => toHex(hexShape({ bytes: [32] })(value, path));
const vectorShape = mapShape(
  { name: new RegExp(`^(?:${TRUST_CLAIMS.join('|')})$`), maxMembers: TRUST_CLAIMS.length },
  integerShape({ min: 0, max: 127 }),
);

const appraisalShape = objectShape({
  ear_status: literalShape(...TRUST_TIERS),
  ear_trustworthiness_vector: vectorShape,
  ear_appraisal_policy_ids: listShape({ minItems: 1, maxItems: 1 }, lineShape),
  ear_verifier_claims: objectShape({
    model: lineShape,
    simulated: booleanShape,
    attachment: nullableShape(literalShape('software-asserted')),
  }),
});

const claimsShape = objectShape({
  eat_profile: literalShape(EAR_PROFILE),
  iat: timeShape,
  exp: timeShape,
  eat_nonce: textShape({ pattern: /^[A-Za-z0-9_-]{43}$/ }),
  ear_verifier_id: objectShape({ developer: literalShape(DEVELOPER), build: lineShape }),
  ear_status: literalShape(...TRUST_TIERS),
  submods: mapShape({ name: /^[a-z0-9-]{1,11}\/[0-9a-f]{64}$/, maxMembers: 32 }, appraisalShape),
  [DECISION_CLAIM]: objectShape({
    mode: literalShape('evaluation', 'production'),
    lab: lineShape,
    manifestDigest: digestShape,
    agentKeyDigest: digestShape,
    evidenceDigest: digestShape,
    releasePolicyDigest: digestShape,
    referenceValuesDigest: digestShape,
    logOrigin: lineShape,
    logIndex: integerShape({ min: 0, max: Number.MAX_SAFE_INTEGER }),
    leafHash: digestShape,
  }),
});

/**
 * Reads the claims set of a result of ours. Nothing of it is verified.
 *
 * @param readNonce turns the text of the nonce into hex
 * @throws RefusalError `shape-*`, `hex-malformed`, and what `readNonce` throws
 */
export function readAttestationResult(
  value: JsonValue,
  readNonce: (text: string, field: string) => string,
): ClaimedResult {
  const claims = claimsShape(value, 'result');
  const appraisals = [...claims.submods.values()];
  const labels = [...claims.submods.keys()];
  return {
    issuedAt: claims.iat,
    expiresAt: claims.exp,
    build: claims.ear_verifier_id.build,
    nonce: readNonce(claims.eat_nonce, 'result.eat_nonce'),
    status: claims.ear_status,
    statuses: appraisals.map(({ ear_status: status }) => status),
    policies: appraisals.flatMap((appraisal) => appraisal.ear_appraisal_policy_ids),
    devices: appraisals.map((appraisal, i) => ({
      ...deviceOfLabel(labels[i] ?? ''),
      ...appraisal.ear_verifier_claims,
      trustVector: Object.fromEntries(appraisal.ear_trustworthiness_vector),
    })),
    decision: claims[DECISION_CLAIM],
  };
}

/** A label is the key of the device (AR-3); its form was checked. */
function deviceOfLabel(label: string): Pick<DeviceResult, 'class' | 'identity'> {
  const [className = '', identity = ''] = label.split('/');
  return { class: className, identity };
}
