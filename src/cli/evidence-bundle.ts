/** An evidence bundle and the verifier's inputs as two documents: a decision derived again without its server. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { TrustAnchor } from '../../attestation/core/certificate-path.ts';
import { deviceSetsShape } from '../../attestation/core/composite/device-set.ts';
import { parseEvidence, verifyEvidence, type EvidenceInputs } from '../../attestation/core/evidence.ts';
import {
  anyShape,
  base64Shape,
  booleanShape,
  hexShape,
  listShape,
  literalShape,
  mapShape,
  objectShape,
  textShape,
  type Shape,
} from '../../attestation/core/json-shape.ts';
import { DEVICE_CLASSES } from '../server/device-classes.ts';
import type { Judgement } from './evidence-output.ts';

const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,200}$/ });
const collateralNameShape = { name: /^[A-Za-z0-9/._-]{1,300}$/, maxMembers: 100 };

const certificateAnchorShape = objectShape({
  name: lineShape,
  certificate: base64Shape({ maxBytes: 8192 }),
  simulated: booleanShape,
});
const pinnedAnchorShape = objectShape({
  name: lineShape,
  publicKeyDigest: hexShape({ bytes: [32] }),
  simulated: booleanShape,
});
const anchorShape: Shape<TrustAnchor> = (value, path) => {
  const isPin = typeof value === 'object' && value !== null && Object.hasOwn(value, 'publicKeyDigest');
  return isPin ? pinnedAnchorShape(value, path) : certificateAnchorShape(value, path);
};

const classShape = objectShape({
  anchors: listShape({ minItems: 0, maxItems: 100 }, anchorShape),
  collateral: mapShape(collateralNameShape, base64Shape({ maxBytes: 256 * 1024 })),
  referenceValues: listShape({ minItems: 0, maxItems: 1000 }, anyShape),
  policy: anyShape,
});

/** CL-14. */
const inputsShape = objectShape({
  version: literalShape(1),
  binding: hexShape({ bytes: [32] }),
  lab: lineShape,
  classes: mapShape({ name: /^[a-z0-9-]{1,11}$/, maxMembers: 16 }, classShape),
  enrolments: mapShape({ name: /^[a-z0-9-]{1,11}\/[0-9a-f]{64}$/, maxMembers: 100 }, anyShape),
  deviceSets: deviceSetsShape,
});

/**
 * Judges every device of a bundle.
 *
 * @param document the verifier's inputs: `{version, binding, lab, classes, enrolments, deviceSets}`
 * @param time POSIX seconds
 * @throws RefusalError of the family `malformed`, `evidence-*`
 */
export async function judgeBundle(bundle: Uint8Array, document: JsonValue, time: number): Promise<Judgement> {
  const inputs: EvidenceInputs = { ...inputsShape(document, 'inputs'), time };
  const verdict = await verifyEvidence(parseEvidence(bundle, DEVICE_CLASSES), inputs);
  return verdict.outcome === 'refused' ? verdict : { ...verdict, claims: verdict.devices };
}
