/**
 * The measurements of a report beside the reference values of its manifests (docs/spec/nvidia-rim.md, section 7). Everything that
 * was found is named; what it means is for appraise.ts.
 */

import { equalBytes, toHex } from '../../core/bytes.ts';
import type { Trusted } from '../../core/trusted.ts';
import type { MeasurementBlock } from '../spdm.ts';
import type { Rim } from './authenticate.ts';
import type { ReferenceMeasurement, RimManifest } from './manifest.ts';

/** What a manifest is about. A GPU needs one each for driver and VBIOS, a switch one. */
export type RimRole = 'driver' | 'vbios' | 'switch';

export interface ComparisonOptions {
  /** The manifests that there must be. */
  readonly roles: readonly RimRole[];
  /** The video decoder as the report states it; undefined where it does not. */
  readonly nvdec0Status: 'enabled' | 'disabled' | undefined;
  /** What the policy says of the measurement of a video decoder that is disabled. */
  readonly disabledNvdec: 'compare' | 'skip';
  /** Security versions by type of the opaque data. */
  readonly securityVersions: ReadonlyMap<number, number>;
}

/** A block that is none of its reference values. */
export interface MeasurementMismatch {
  readonly role: RimRole;
  /** As in manifests, from 0. */
  readonly index: number;
  readonly name: string;
  /** Hex. */
  readonly expected: readonly string[];
  /** Hex; undefined where the report has no such block. */
  readonly found: string | undefined;
}

/** A security version that is below its minimum. */
export interface OutdatedSecurityVersion {
  readonly role: RimRole;
  readonly opaqueType: number;
  readonly name: string;
  readonly minimum: number;
  /** Undefined where the report has none. */
  readonly found: number | undefined;
}

/** Indices are those of manifests, from 0, in ascending order. */
export interface MeasurementComparison {
  /** Manifests that there must be and are not, or that have no active index. */
  readonly absent: readonly RimRole[];
  /** Indices that a manifest for this chip must have active and has not. */
  readonly incomplete: readonly { readonly role: RimRole; readonly indices: readonly number[] }[];
  /** Active in more than one manifest. From 4096 on they are about opaque data. */
  readonly conflicts: readonly number[];
  readonly compared: readonly number[];
  /** Active, and not compared because the policy says so. */
  readonly skipped: readonly number[];
  readonly mismatches: readonly MeasurementMismatch[];
  readonly outdated: readonly OutdatedSecurityVersion[];
  /** Whether the state of the video decoder counts and is not known. */
  readonly lacksNvdecStatus: boolean;
  /** Blocks that are not zero and that no manifest covers. */
  readonly uncovered: readonly number[];
}

/** The index whose block depends on whether the video decoder is enabled. */
const NVDEC_INDEX = 35;
const FIRST_OPAQUE_INDEX = 0x1000;

const range = (first: number, last: number): readonly number[] =>
  Array.from({ length: last - first + 1 }, (_, i) => first + i);

/** What every manifest of a chip has been active for; other chips are known by their whole coverage alone. */
const REQUIRED_INDICES: ReadonlyMap<string, readonly number[]> = new Map([
  ['GH100 driver', [7, ...range(21, 40)]],
  ['GH100 vbios', [...range(0, 6), ...range(8, 12)]],
  ['LS10 switch', range(0, 30)],
]);

interface ActiveMeasurement extends ReferenceMeasurement {
  readonly role: RimRole;
}

/**
 * Compares a report with its manifests. Refuses nothing itself.
 *
 * @param rims by what they are about; which of them is right for the device is for `appraiseRim`
 */
export function compareMeasurements(
  blocks: readonly MeasurementBlock[],
  rims: ReadonlyMap<RimRole, Trusted<Rim>>,
  options: ComparisonOptions,
): MeasurementComparison {
  const manifests = [...rims].map(([role, { manifest }]) => ({ role, manifest }));
  const active = manifests.flatMap(({ role, manifest }) => activeMeasurements(role, manifest));
  const activeIndices = active.map(({ index }) => index);
  const isSkipped = ({ index }: ActiveMeasurement): boolean =>
    index === NVDEC_INDEX && options.nvdec0Status === 'disabled' && options.disabledNvdec === 'skip';
  const values = new Map(blocks.map(({ index, measurement }) => [index - 1, measurement.value]));
  const compared = active.filter((measurement) => !isSkipped(measurement));
  return {
    absent: options.roles.filter((role) => isEmpty(rims.get(role)?.manifest)),
    incomplete: manifests.flatMap(({ role, manifest }) => missingIndices(role, manifest)),
    conflicts: repeated([...activeIndices, ...manifests.flatMap(({ manifest }) => opaqueIndices(manifest))]),
    compared: ascending(compared.map(({ index }) => index)),
    skipped: ascending(active.filter(isSkipped).map(({ index }) => index)),
    mismatches: compared.flatMap((measurement) => mismatchOf(measurement, values.get(measurement.index))),
    outdated: manifests.flatMap(({ role, manifest }) => outdatedOf(role, manifest, options.securityVersions)),
    lacksNvdecStatus: activeIndices.includes(NVDEC_INDEX) && options.nvdec0Status === undefined,
    uncovered: uncoveredOf(values, activeIndices),
  };
}

function activeMeasurements(role: RimRole, { measurements }: RimManifest): readonly ActiveMeasurement[] {
  return measurements
    .filter(({ isActive }) => isActive)
    .map((measurement) => ({ ...measurement, role }))
    .toSorted((left, right) => left.index - right.index);
}

function opaqueIndices({ securityVersions }: RimManifest): readonly number[] {
  return securityVersions
    .filter(({ isActive }) => isActive)
    .map(({ opaqueType }) => FIRST_OPAQUE_INDEX + opaqueType);
}

function isEmpty(manifest: RimManifest | undefined): boolean {
  return manifest?.measurements.every(({ isActive }) => !isActive) ?? true;
}

function missingIndices(
  role: RimRole,
  { product, measurements }: RimManifest,
): MeasurementComparison['incomplete'] {
  const active = new Set(measurements.filter(({ isActive }) => isActive).map(({ index }) => index));
  const required = REQUIRED_INDICES.get(`${product} ${role}`) ?? [];
  const indices = required.filter((index) => !active.has(index));
  return indices.length === 0 ? [] : [{ role, indices }];
}

function mismatchOf(
  { role, index, name, alternatives }: ActiveMeasurement,
  value: Uint8Array | undefined,
): readonly MeasurementMismatch[] {
  if (value !== undefined && alternatives.some((alternative) => equalBytes(alternative, value))) return [];
  return [{ role, index, name, expected: alternatives.map(toHex), found: value && toHex(value) }];
}

function outdatedOf(
  role: RimRole,
  { securityVersions }: RimManifest,
  reported: ReadonlyMap<number, number>,
): readonly OutdatedSecurityVersion[] {
  return securityVersions
    .filter(({ isActive, opaqueType, minimum }) => isActive && !((reported.get(opaqueType) ?? -1) >= minimum))
    .map(({ opaqueType, name, minimum }) => {
      return { role, opaqueType, name, minimum, found: reported.get(opaqueType) };
    });
}

function uncoveredOf(values: ReadonlyMap<number, Uint8Array>, covered: readonly number[]): readonly number[] {
  const isUsed = ([, value]: readonly [number, Uint8Array]): boolean => value.some((byte) => byte !== 0);
  const used = [...values].filter(isUsed).map(([index]) => index);
  return ascending(used.filter((index) => !covered.includes(index)));
}

/** Each that is there more than once. */
function repeated(indices: readonly number[]): readonly number[] {
  return ascending(indices.filter((index, i) => indices.indexOf(index) !== i));
}

function ascending(indices: readonly number[]): readonly number[] {
  return [...new Set(indices)].toSorted((left, right) => left - right);
}
