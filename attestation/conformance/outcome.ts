/** What becomes of evidence under a device class, seen from outside: all that the battery knows of a class. */

import type { JsonValue } from '../core/canonical-json.ts';
import type { AnyDeviceClass, DeviceClaims, DeviceInputs } from '../core/device-class.ts';
import { isRefusal } from '../core/refusal.ts';
import type { Refusal, RefusalFamilyName } from '../core/refusal.ts';
import { isTrusted } from '../core/trusted.ts';
import type { Check, Verdict } from '../core/verdict.ts';

export type Outcome =
  | { readonly kind: 'accepted'; readonly claims: DeviceClaims; readonly checks: readonly Check[] }
  | {
      readonly kind: 'refused';
      /** Whether the bytes could not be read, or what they say was judged. */
      readonly at: 'reading' | 'verification';
      readonly family: RefusalFamilyName;
      readonly refusals: readonly Refusal[];
    }
  /** Something that no class may do, whatever the input. */
  | { readonly kind: 'broken'; readonly what: string };

/** Families of which a verdict on evidence can be; the others are about callers and machines. */
const VERDICT_FAMILIES: readonly RefusalFamilyName[] = ['malformed', 'inauthentic', 'unacceptable'];

/** Reads, identifies and verifies. Throws nothing: an exception of the class is an outcome. */
export async function observe(
  deviceClass: AnyDeviceClass,
  value: JsonValue,
  inputs: DeviceInputs,
): Promise<Outcome> {
  const read = readEvidence(deviceClass, value);
  if (read.kind !== 'read') return read;
  try {
    return judged(await deviceClass.verify(read.evidence, inputs));
  } catch (error) {
    return { kind: 'broken', what: `verify threw ${describeThrown(error)} (DC-13)` };
  }
}

function readEvidence(
  deviceClass: AnyDeviceClass,
  value: JsonValue,
): Exclude<Outcome, { kind: 'accepted' }> | { readonly kind: 'read'; readonly evidence: object } {
  try {
    const evidence = deviceClass.parse(value, 'evidence');
    deviceClass.identify(evidence);
    return { kind: 'read', evidence };
  } catch (error) {
    if (!isRefusal(error)) return { kind: 'broken', what: `parse threw ${describeThrown(error)} (DC-13)` };
    const { family, refusal } = error;
    if (family !== 'malformed') {
      return { kind: 'broken', what: `parse refused with ${refusal.code} of the family ${family} (DC-14)` };
    }
    return { kind: 'refused', at: 'reading', family, refusals: [refusal] };
  }
}

function judged(verdict: Verdict<DeviceClaims>): Outcome {
  if (verdict.outcome === 'accepted') {
    const { claims, checks } = verdict;
    if (!isTrusted(claims)) return { kind: 'broken', what: 'claims that no verdict made trusted (DC-1)' };
    return { kind: 'accepted', claims, checks };
  }
  const { family, refusals } = verdict;
  const formless = refusals.find((refusal) => !hasForm(refusal));
  if (formless !== undefined)
    return { kind: 'broken', what: `${formless.code} without field or hint (DC-14)` };
  if (!VERDICT_FAMILIES.includes(family)) {
    return { kind: 'broken', what: `a verdict of the family ${family} (DC-14)` };
  }
  return { kind: 'refused', at: 'verification', family, refusals };
}

function hasForm({ field, expected, found, hint }: Refusal): boolean {
  const texts: readonly unknown[] = [field, expected, found, hint];
  return texts.every((text) => typeof text === 'string') && field !== '' && hint !== '';
}

function describeThrown(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : `a ${typeof error}`;
}

/** An outcome in a few words: what it was, and by which codes. */
export function describeOutcome(outcome: Outcome): string {
  if (outcome.kind === 'broken') return outcome.what;
  if (outcome.kind === 'accepted') return 'accepted';
  return `${outcome.family}: ${outcome.refusals.map(({ code }) => code).join(', ')}`;
}
