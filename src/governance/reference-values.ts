/**
 * Reference values as the log states them (docs/spec/governance.md section 7): which statements stand, which of them
 * count at a time, and for which machines a new value counts while it is being rolled out.
 */

import { createHash } from 'node:crypto';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import type { ReferenceValues, StagedReferenceValues } from './predicates.ts';
import type { LoggedMoment } from './moment.ts';

/** What a statement about reference values says, of either version. */
export interface ReferenceIssue {
  readonly deviceClass: string;
  readonly name: string;
  readonly epoch: number;
  /** Who answers for the values; null in version 1, which does not say. */
  readonly owner: string | null;
  /** POSIX seconds: counts from here, */
  readonly validFrom: number;
  /** and to before here; null for no end. */
  readonly validUntil: number | null;
  /** Share of the machines for which it counts, 1 to 100. */
  readonly rolloutPercent: number;
  /** The reference document of the device class. */
  readonly values: JsonValue;
}

export interface ReferenceValuesState extends LoggedMoment {
  readonly reference: ReferenceIssue;
}

/** Statements that stand, by `deviceClass/name`, each list by rising epoch. */
export type StandingReferenceValues = ReadonlyMap<string, readonly ReferenceValuesState[]>;

/** For whom and when reference values are asked for. */
export interface ReferenceQuestion {
  /** POSIX seconds. */
  readonly at: number;
  /** `class/identity` of the device that speaks for the machine (GV-65). */
  readonly machine: string;
}

/** A statement of version 1 has no end and counts for every machine (GV-60). */
export function issueOf(predicate: ReferenceValues | StagedReferenceValues): ReferenceIssue {
  const { deviceClass, name, epoch, values } = predicate;
  const limits =
    'owner' in predicate
      ? {
          owner: predicate.owner,
          validFrom: predicate.validFrom,
          validUntil: predicate.validUntil,
          rolloutPercent: predicate.rolloutPercent,
        }
      : { owner: null, validFrom: 0, validUntil: null, rolloutPercent: 100 };
  return { deviceClass, name, epoch, values, ...limits };
}

/**
 * Statements that no later one has superseded at a time (GV-62): a later one for all machines supersedes what was
 * before, one for a part of them only what was for a part too.
 */
export function standingAt(
  states: readonly ReferenceValuesState[],
  at: number,
): readonly ReferenceValuesState[] {
  return states.filter(({ reference }) => {
    const isStaged = reference.rolloutPercent < 100;
    return !states.some(
      ({ reference: later }) =>
        later.epoch > reference.epoch && later.validFrom <= at && (later.rolloutPercent === 100 || isStaged),
    );
  });
}

/** Whether a machine is in the share for which a value counts (GV-64). The share of a machine never changes. */
export function isInRollout(reference: ReferenceIssue, machine: string): boolean {
  const { deviceClass, name, rolloutPercent } = reference;
  const place = encodeCanonicalJson(['weightgate/roll-out/v1', deviceClass, name, machine]);
  const drawn = createHash('sha256').update(place).digest().readUInt32BE(0);
  return drawn * 100 < rolloutPercent * 2 ** 32;
}

function counts(reference: ReferenceIssue, { at, machine }: ReferenceQuestion): boolean {
  const { validFrom, validUntil } = reference;
  const isValid = validFrom <= at && (validUntil === null || at < validUntil);
  return isValid && isInRollout(reference, machine);
}

/** The reference values of a device class that count for a machine at a time (GV-63), by name and epoch. */
export function referenceValuesFor(
  { referenceValues }: { readonly referenceValues: StandingReferenceValues },
  deviceClass: string,
  question: ReferenceQuestion,
): readonly ReferenceIssue[] {
  return inOrder(referenceValues)
    .flatMap((states) => standingAt(states, question.at))
    .map(({ reference }) => reference)
    .filter((reference) => reference.deviceClass === deviceClass && counts(reference, question));
}

function inOrder(standing: StandingReferenceValues): readonly (readonly ReferenceValuesState[])[] {
  const entries = [...standing].sort(([left], [right]) => (left < right ? -1 : 1));
  return entries.map(([, states]) => states);
}

/** All statements that stand, in the order of GV-31. */
export function standingReferenceValues({
  referenceValues,
}: {
  readonly referenceValues: StandingReferenceValues;
}): readonly ReferenceValuesState[] {
  return inOrder(referenceValues).flat();
}

/**
 * `referenceValuesDigest` of a decision (GV-31): lower-case hex SHA-256 of the canonical JSON list of the payload
 * digests of all reference-value statements that stand, ordered by device class and name, then by epoch.
 */
export function referenceValuesDigestOf(state: {
  readonly referenceValues: StandingReferenceValues;
}): string {
  const digests = standingReferenceValues(state).map(({ payloadDigest }) => payloadDigest);
  return createHash('sha256').update(encodeCanonicalJson(digests)).digest('hex');
}
