/**
 * The contract of device classes (docs/spec/device-class.md): what is true of every class, whatever the hardware. A
 * new class calls `describeDeviceClass` with a fixture of its own and must be green without a change here.
 */

import { readFile } from 'node:fs/promises';

import fc from 'fast-check';
import { afterAll, afterEach, beforeAll, describe, expect, it, vi } from 'vitest';

import { fromBase64, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import type { JsonValue } from '../../../attestation/core/canonical-json.ts';
import { CertificateMemory } from '../../../attestation/core/certificate-memory.ts';
import type { DeviceClaims, DeviceInputs } from '../../../attestation/core/device-class.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import type { Refusal } from '../../../attestation/core/refusal.ts';
import { isTrusted } from '../../../attestation/core/trusted.ts';
import type { Verdict } from '../../../attestation/core/verdict.ts';
import type { DeviceFixture, Document } from './fixture.ts';

/** What became of evidence: where it was refused, and with what. */
type Outcome =
  | { readonly stage: 'accepted'; readonly claims: DeviceClaims }
  | { readonly stage: 'malformed' | 'refused'; readonly refusals: readonly Refusal[] };

/** Runs the contract. `makeFixture` is called once. */
export function describeDeviceClass(name: string, makeFixture: () => Promise<DeviceFixture>): void {
  let fixture: DeviceFixture;
  const seenCodes = new Set<string>();

  async function verify(evidence: JsonValue, changes: Partial<DeviceInputs> = {}): Promise<Outcome> {
    const outcome = await judgeEvidence(fixture, evidence, changes);
    if (outcome.stage !== 'accepted') for (const { code } of outcome.refusals) seenCodes.add(code);
    return outcome;
  }

  async function refused(evidence: JsonValue, changes: Partial<DeviceInputs> = {}): Promise<void> {
    const outcome = await verify(evidence, changes);
    expect(outcome.stage).not.toBe('accepted');
  }

  const withBytes = (member: string, change: (bytes: Uint8Array) => Uint8Array): Document => ({
    ...fixture.evidence,
    [member]: toBase64(change(fromBase64(fixture.evidence[member] as string, member))),
  });

  describe(`the contract of device classes: ${name}`, () => {
    beforeAll(async () => {
      fixture = await makeFixture();
    });

    afterEach(() => {
      vi.unstubAllGlobals();
      vi.restoreAllMocks();
    });

    it('DC-1: accepts good evidence, with trusted claims that can be logged', async () => {
      const { deviceClass, inputs } = fixture;
      const evidence = deviceClass.parse(fixture.evidence, 'evidence');
      const verdict = await deviceClass.verify(evidence, inputs);
      if (verdict.outcome !== 'accepted') throw new Error(JSON.stringify(verdict.refusals));
      expect(isTrusted(verdict.claims)).toBe(true);
      expect(deviceClass.name).toMatch(/^[a-z0-9-]{1,11}$/);
      expect(deviceClass.identify(evidence)).toHaveLength(32);
      expect(verdict.claims).toMatchObject({
        class: deviceClass.name,
        identity: toHex(deviceClass.identify(evidence)),
      });
      expect(encodeCanonicalJson(verdict.claims as unknown as JsonValue).length).toBeGreaterThan(2);
      expect(verdict.checks.length).toBeGreaterThan(2);
      for (const check of verdict.checks) {
        expect(check).toMatchObject({ outcome: 'passed' });
        const { field, expected, found, protects } = check;
        for (const text of [field, expected, found, protects]) expect(text, check.id).toMatch(/./);
      }
    });

    it('DC-2: takes from the anchor alone whether the hardware is simulated', async () => {
      for (const simulated of [true, false]) {
        const anchors = fixture.inputs.anchors.map((anchor) => ({ ...anchor, simulated }));
        const outcome = await verify(fixture.evidence, { anchors });
        expect(outcome).toMatchObject({ stage: 'accepted', claims: { simulated } });
      }
    });

    it('DC-3: refuses bytes that were cut, at every length', async () => {
      for (const member of fixture.binaryMembers) {
        const { length } = fromBase64(fixture.evidence[member] as string, member);
        for (let kept = 0; kept < length; kept += 1) {
          const outcome = await verify(withBytes(member, (bytes) => bytes.subarray(0, kept)));
          expect({ member, kept, stage: outcome.stage }).not.toMatchObject({ stage: 'accepted' });
        }
      }
    });

    it('DC-3: refuses trailing bytes', async () => {
      for (const member of fixture.binaryMembers) {
        const tails = fixture.zeroPaddedMembers.includes(member) ? [0xff] : [0x00, 0xff];
        for (const tail of tails) await refused(withBytes(member, (bytes) => Uint8Array.of(...bytes, tail)));
      }
    });

    it('DC-4: refuses reserved bits, even when the device signed them', async () => {
      expect(fixture.reserved.length).toBeGreaterThan(0);
      for (const { name: place, evidence } of fixture.reserved) {
        const { stage } = await verify(evidence);
        expect({ place, stage }).not.toMatchObject({ stage: 'accepted' });
      }
    });

    it('DC-5: refuses an altered byte, or claims nothing else because of it', async () => {
      const good = await verify(fixture.evidence);
      for (const member of fixture.binaryMembers) {
        const { length } = fromBase64(fixture.evidence[member] as string, member);
        const stride = Math.max(1, Math.floor(length / 400));
        for (let at = 0; at < length; at += stride) {
          const outcome = await verify(
            withBytes(member, (bytes) => bytes.map((byte, i) => (i === at ? byte ^ (1 << (at % 8)) : byte))),
          );
          if (outcome.stage === 'accepted') expect({ member, at, outcome }).toMatchObject({ outcome: good });
        }
      }
    });

    it('DC-6: refuses anchors of the same name with other keys, and none at all', async () => {
      expect(fixture.foreignAnchors.map((anchor) => anchor.name)).toEqual(
        fixture.inputs.anchors.map((anchor) => anchor.name),
      );
      await refused(fixture.evidence, { anchors: fixture.foreignAnchors });
      await refused(fixture.evidence, { anchors: [] });
    });

    it('DC-7: refuses what is not valid yet or not any more', async (context) => {
      const { expired } = fixture;
      if ('notApplicable' in expired) return context.skip(expired.notApplicable);
      await refused(fixture.evidence, { time: expired.before });
      await refused(fixture.evidence, { time: expired.after });
    });

    it('DC-8: refuses every device value but the expected one, whole', async () => {
      const { expectedDeviceValue: value } = fixture.inputs;
      const others = [
        value.map((byte, i) => (i === 31 ? byte ^ 1 : byte)),
        new Uint8Array(32),
        value.subarray(0, 31),
        Uint8Array.of(...value, 0),
        new Uint8Array(0),
      ];
      for (const expectedDeviceValue of others) await refused(fixture.evidence, { expectedDeviceValue });
    });

    it('DC-9: refuses empty evidence and every missing or empty member', async () => {
      for (const empty of [null, true, 0, '', [], {}]) await refused(empty);
      for (const member of Object.keys(fixture.evidence)) {
        const { [member]: _, ...rest } = fixture.evidence;
        await refused(rest);
        await refused({ ...fixture.evidence, [member]: null });
        if (fixture.binaryMembers.includes(member)) await refused({ ...fixture.evidence, [member]: '' });
      }
    });

    it('DC-10: refuses unknown and missing members, in evidence and in the verifier’s documents', async () => {
      await refused({ ...fixture.evidence, unknown: 'member' });
      const policy = fixture.inputs.policy as Document;
      await refused(fixture.evidence, { policy: { ...policy, unknown: true } });
      for (const member of Object.keys(policy)) {
        const { [member]: _, ...rest } = policy;
        await refused(fixture.evidence, { policy: rest });
      }
      const [reference, ...others] = fixture.inputs.referenceValues as readonly Document[];
      const altered = { ...reference, unknown: true };
      await refused(fixture.evidence, { referenceValues: [altered, ...others] });
    });

    it('DC-11: refuses without reference values', async () => {
      await refused(fixture.evidence, { referenceValues: [] });
    });

    it('DC-12: is pure: no clock, chance or network, and the inputs stay as they were', async () => {
      const { deviceClass } = fixture;
      const before = JSON.stringify(fixture.inputs, bytesAsHex);
      const inputs = frozen(fixture.inputs);
      const evidence = frozen(structuredClone(fixture.evidence));
      const forbidden = (): never => {
        throw new Error('an effect');
      };
      vi.stubGlobal('fetch', forbidden);
      vi.spyOn(Math, 'random').mockImplementation(forbidden);
      vi.spyOn(Date, 'now').mockImplementation(forbidden);
      vi.spyOn(performance, 'now').mockImplementation(forbidden);
      vi.spyOn(crypto, 'getRandomValues').mockImplementation(forbidden);
      const verdicts: Verdict<DeviceClaims>[] = [];
      for (let time = 0; time < 2; time += 1) {
        verdicts.push(await deviceClass.verify(deviceClass.parse(evidence, 'evidence'), inputs));
      }
      vi.restoreAllMocks();
      expect(verdicts[0]?.outcome).toBe('accepted');
      expect(verdicts[1]).toEqual(verdicts[0]);
      expect(JSON.stringify(fixture.inputs, bytesAsHex)).toBe(before);
    });

    it('DC-16: comes to the same verdict with a memory of certificates', async () => {
      const { inputs, foreignAnchors: anchors, expired } = fixture;
      const times = 'notApplicable' in expired ? [] : [expired.before, expired.after];
      const variants: readonly Partial<DeviceInputs>[] = [
        {},
        { anchors },
        ...times.map((time) => ({ time })),
        { collateral: new Map() },
        {},
      ];
      const flipped = [...fixture.binaryMembers, ...fixture.binaryMembers].map((member, i) =>
        withBytes(member, (bytes) => bytes.map((byte, at) => (at === 400 * i ? byte ^ 1 : byte))),
      );
      const memory = new CertificateMemory();
      for (const evidence of [fixture.evidence, ...flipped, fixture.evidence]) {
        for (const changes of variants) {
          const remembering = await verify(evidence, { ...inputs, ...changes, memory });
          expect(remembering).toEqual(await verify(evidence, { ...inputs, ...changes }));
        }
      }
    });

    it('DC-13: answers any JSON with a refusal, and never throws', async () => {
      const json = fc.jsonValue({ maxDepth: 3 }) as fc.Arbitrary<JsonValue>;
      await fc.assert(
        fc.asyncProperty(json, (value) => refused(value)),
        { numRuns: 100 },
      );
      await fc.assert(
        fc.asyncProperty(json, (policy) => refused(fixture.evidence, { policy })),
        { numRuns: 100 },
      );
      await fc.assert(
        fc.asyncProperty(json, (value) => refused(fixture.evidence, { referenceValues: [value] })),
        { numRuns: 100 },
      );
    });

    it('DC-13: answers any bytes in any member with a refusal, and huge ones by their length', async () => {
      const member = fc.constantFrom(...fixture.binaryMembers);
      await fc.assert(
        fc.asyncProperty(member, fc.uint8Array({ maxLength: 300 }), (place, bytes) =>
          refused({ ...fixture.evidence, [place]: toBase64(bytes) }),
        ),
        { numRuns: 200 },
      );
      for (const place of fixture.binaryMembers) {
        const outcome = await verify({ ...fixture.evidence, [place]: 'A'.repeat(4 * 1024 * 1024) });
        expect(outcome.stage).toBe('malformed');
      }
    });

    afterAll(async () => {
      // DC-14: refusals come out of the closed set, whose page another test compares with the code.
      const page = await readFile('docs/spec/refusal-codes.md', 'utf8');
      const known = new Set([...page.matchAll(/^\| `([a-z0-9-]+)`/gm)].map(([, code]) => code));
      expect([...seenCodes].filter((code) => !known.has(code))).toEqual([]);
      expect(seenCodes.size).toBeGreaterThan(5);
    });
  });
}

/** Everything but a refusal, thrown or in a verdict, is passed on and fails the test. */
async function judgeEvidence(
  { deviceClass, inputs }: DeviceFixture,
  value: JsonValue,
  changes: Partial<DeviceInputs>,
): Promise<Outcome> {
  let evidence: object;
  try {
    evidence = deviceClass.parse(value, 'evidence');
    deviceClass.identify(evidence);
  } catch (error) {
    if (!isRefusal(error)) throw error;
    expect(error.family).toBe('malformed');
    return { stage: 'malformed', refusals: [error.refusal] };
  }
  const verdict = await deviceClass.verify(evidence, { ...inputs, ...changes });
  if (verdict.outcome === 'accepted') return { stage: 'accepted', claims: verdict.claims };
  for (const refusal of verdict.refusals) {
    expect(refusal.field, refusal.code).toMatch(/./);
    expect(refusal.hint, refusal.code).toMatch(/./);
    expect(typeof refusal.expected + typeof refusal.found, refusal.code).toBe('stringstring');
  }
  return { stage: 'refused', refusals: verdict.refusals };
}

/** Frozen to the bottom. Bytes cannot be frozen; that they did not change is compared afterwards. */
function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  for (const member of value instanceof Map ? value.values() : Object.values(value)) frozen(member);
  return Object.freeze(value);
}

function bytesAsHex(_name: string, value: unknown): unknown {
  if (value instanceof Uint8Array) return toHex(value);
  return value instanceof Map ? [...(value as ReadonlyMap<string, unknown>)] : value;
}
