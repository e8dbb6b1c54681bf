/** The JSON documents of the verifier's side: the appraisal policy and reference values. Both are logged or published. */

import type { JsonValue } from '../core/canonical-json.ts';
import { hexShape, integerShape, literalShape, objectShape, textShape } from '../core/json-shape.ts';
import type { ShapeValue } from '../core/json-shape.ts';

const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,200}$/ });

const policyShape = objectShape({
  version: literalShape(1),
  class: literalShape('example'),
  minimumFirmwareVersion: integerShape({ min: 0, max: 0xffffffff }),
});
export type ExamplePolicy = ShapeValue<typeof policyShape>;

const referenceShape = objectShape({
  version: literalShape(1),
  class: literalShape('example'),
  name: lineShape,
  measurement: hexShape({ bytes: [32] }),
  provenance: objectShape({ source: lineShape, recordedAt: integerShape({ min: 0, max: 2 ** 40 }) }),
});
export type ExampleReferenceValues = ShapeValue<typeof referenceShape>;

/** @throws RefusalError `shape-*`: no member has a default, so that nothing is unchecked because it is missing */
export function readPolicy(value: JsonValue): ExamplePolicy {
  return policyShape(value, 'policy');
}

/** @throws RefusalError `shape-*`, `hex-malformed` */
export function readReferenceValues(value: JsonValue): ExampleReferenceValues {
  return referenceShape(value, 'referenceValues');
}
