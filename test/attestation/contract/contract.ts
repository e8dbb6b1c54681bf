/**
 * The contract of device classes (docs/spec/device-class.md) as tests: every row of the conformance battery, and the
 * same with values that are drawn anew in each run. A new class calls `describeDeviceClass` with a fixture of its own
 * and must be green without a change here.
 */

import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import type { DeviceInputs } from '../../../attestation/core/device-class.ts';
import { BATTERY, runBattery, type RowResult } from '../../../attestation/conformance/battery.ts';
import type { DeviceFixture } from '../../../attestation/conformance/fixture.ts';
import { observe } from '../../../attestation/conformance/outcome.ts';
import { collectFamilies } from '../../../scripts/refusal-codes.ts';

/** Some classes verify a dozen signatures for each of thousands of cases. */
const BATTERY_MILLISECONDS = 240_000;

/** Runs the contract. `makeFixture` is called once. */
export function describeDeviceClass(name: string, makeFixture: () => Promise<DeviceFixture>): void {
  let fixture: DeviceFixture;
  let results: readonly RowResult[];

  async function refused(evidence: JsonValue, changes: Partial<DeviceInputs> = {}): Promise<void> {
    const outcome = await observe(fixture.deviceClass, evidence, { ...fixture.inputs, ...changes });
    expect(outcome).toMatchObject({ kind: 'refused' });
  }

  describe(`the contract of device classes: ${name}`, () => {
    beforeAll(async () => {
      fixture = await makeFixture();
      const families = (await collectFamilies()).map(({ family }) => family);
      const declared = families.flatMap(({ codes, family }) =>
        Object.keys(codes).map((code) => [code, family] as const),
      );
      results = await runBattery(fixture, new Map(declared));
    }, BATTERY_MILLISECONDS);

    for (const [i, { rule, title }] of BATTERY.entries()) {
      it(`${rule}: ${title}`, (context) => {
        const { outcome, deviations, cases, found } = results[i]!;
        if (outcome === 'not-applicable') {
          context.skip(found);
          return;
        }
        expect(deviations).toEqual([]);
        expect(outcome).toBe('passed');
        expect(cases).toBeGreaterThan(0);
      });
    }

    it('DC-13: answers JSON drawn by chance with a refusal', async () => {
      const json = fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<JsonValue>;
      const attempts = [
        (value: JsonValue) => refused(value),
        (policy: JsonValue) => refused(fixture.evidence, { policy }),
        (value: JsonValue) => refused(fixture.evidence, { referenceValues: [value] }),
      ];
      for (const attempt of attempts) await fc.assert(fc.asyncProperty(json, attempt), { numRuns: 100 });
    });

    it('DC-13: answers bytes drawn by chance with a refusal', async () => {
      const member = fc.constantFrom(...fixture.binaryMembers);
      const bytes = fc.uint8Array({ maxLength: 300 });
      const attempt = fc.asyncProperty(member, bytes, (place, drawn) =>
        refused({ ...fixture.evidence, [place]: toBase64(drawn) }),
      );
      await fc.assert(attempt, { numRuns: 200 });
    });
  });
}
