/** Where reference values for TPMs come from: a machine that is known to be good, or files that a tool computed them from. */

import {
  hexShape,
  integerShape,
  listShape,
  literalShape,
  mapShape,
  objectShape,
  textShape,
} from '../core/json-shape.ts';
import type { Shape } from '../core/json-shape.ts';

const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,200}$/ });
const secondsShape = integerShape({ min: 0, max: 2 ** 40 });

const recordedShape = objectShape({ source: lineShape, recordedAt: secondsShape });

const derivedShape = objectShape({
  method: literalShape('derived'),
  tool: lineShape,
  toolVersion: lineShape,
  /** SHA-256 of each file that a value was computed from, whole. */
  artefacts: listShape(
    { minItems: 1, maxItems: 256 },
    objectShape({ role: lineShape, sha256: hexShape({ bytes: [32] }) }),
  ),
  /** What else decided the values: phases, command lines by their digest, habits of the firmware. */
  parameters: mapShape({ name: /^[a-zA-Z][a-zA-Z0-9]{0,31}$/, maxMembers: 32 }, lineShape),
  madeAt: secondsShape,
});

/** Values that were computed say so by `method`; all others were recorded. */
export type TpmProvenance = ReturnType<typeof recordedShape> | ReturnType<typeof derivedShape>;

export const provenanceShape: Shape<TpmProvenance> = (value, path) =>
  typeof value === 'object' && value !== null && 'method' in value
    ? derivedShape(value, path)
    : recordedShape(value, path);
