/** Appraisal of an authentic statement. It goes on after a failure, so that a person sees all that is wrong. */

import { equalBytes, toHex } from '../core/bytes.ts';
import { defineChecks } from '../core/verdict.ts';
import type { Checklist } from '../core/verdict.ts';
import type { ExamplePolicy, ExampleReferenceValues } from './documents.ts';
import type { Statement } from './layout.ts';

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
