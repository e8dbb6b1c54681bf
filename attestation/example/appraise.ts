/**
 * Appraisal: whether an authentic state is one that the operator wants. The operator's documents are read here too: the
 * appraisal policy and the reference values, both of which are logged or published. Appraisal goes on after a failure, so
 * that a person sees all that is wrong.
 */

import { equalBytes, toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { hexShape, integerShape, literalShape, objectShape, textShape } from '../core/json-shape.ts';
import type { ShapeValue } from '../core/json-shape.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { Statement } from './layout.ts';

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

export const appraisalChecks = defineChecks('unacceptable', {
  'example-debug': {
    means: 'The device is open for debugging.',
    hint: 'Close it and restart the machine. No policy allows it.',
    protects: 'The operator of the machine could read everything in it.',
  },
  'example-firmware': {
    means: 'The device’s firmware is older than the policy allows.',
    hint: 'Install the vendor’s update.',
    protects: 'A known weakness of the old firmware could be used.',
  },
  'example-measurement': {
    means: 'The device measured something that is in no set of reference values.',
    hint: 'Restore the machine, or have the new state approved and recorded.',
    protects: 'A machine that runs other software would get the key.',
  },
});

export interface AppraisalInputs {
  readonly policy: ExamplePolicy;
  readonly referenceValues: readonly ExampleReferenceValues[];
}

/** Appraises and returns the name of the reference values that the device matches; empty if none. */
export function appraise(
  statement: Statement,
  { policy, referenceValues }: AppraisalInputs,
  checks: Checklist,
): string {
  const { flags, firmwareVersion, measurement } = statement;
  checks.note(appraisalChecks, 'example-debug', !flags.debug, {
    field: 'statement.flags.debug',
    expected: 'off',
    found: flags.debug ? 'on' : 'off',
  });
  checks.note(appraisalChecks, 'example-firmware', firmwareVersion >= policy.minimumFirmwareVersion, {
    field: 'statement.firmwareVersion',
    expected: `at least ${policy.minimumFirmwareVersion}`,
    found: String(firmwareVersion),
  });
  const reference = referenceValues.find((known) => equalBytes(known.measurement, measurement));
  checks.note(appraisalChecks, 'example-measurement', reference !== undefined, {
    field: 'statement.measurement',
    expected: referenceValues.map((known) => toHex(known.measurement)).join(' or ') || 'a reference value',
    found: toHex(measurement),
  });
  return reference?.name ?? '';
}
