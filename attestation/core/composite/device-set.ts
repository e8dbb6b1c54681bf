/**
 * Sets of devices (docs/spec/composite.md, section 2): what a machine consists of, as the release policy declares it. A
 * bundle is of a set when it has exactly its devices; what no set names is refused, and without a set everything is.
 */

import { hexShape, integerShape, listShape, literalShape, objectShape, textShape } from '../json-shape.ts';
import type { Shape } from '../json-shape.ts';
import { toHex } from '../bytes.ts';

/** What a set demands of one device class. */
export interface DeviceDemand {
  readonly class: string;
  /** Exactly so many. */
  readonly count: number;
  /** As the class names them; `any` leaves it to the class's own appraisal policy. */
  readonly models: 'any' | readonly string[];
  /** Identities, 32 bytes in hex; `any` leaves it to enrolment and accreditation. */
  readonly devices: 'any' | readonly string[];
}

/** Each class once. */
export type DeviceSet = readonly DeviceDemand[];

/** The most devices of one bundle (EV-1). */
export const MAX_DEVICES = 32;
export const MAX_DEVICE_SETS = 16;

const identityShape: Shape<string> = (value, path) => toHex(hexShape({ bytes: [32] })(value, path));
const modelShape = textShape({ pattern: /^[\x20-\x7e]{1,100}$/ });

function anyOr<T>(shape: Shape<T>): Shape<'any' | readonly T[]> {
  const any = literalShape('any');
  const list = listShape({ minItems: 1, maxItems: 1024 }, shape);
  return (value, path) => (typeof value === 'string' ? any(value, path) : list(value, path));
}

const demandShape = objectShape({
  class: textShape({ pattern: /^[a-z0-9-]{1,11}$/ }),
  count: integerShape({ min: 1, max: MAX_DEVICES }),
  models: anyOr(modelShape),
  devices: anyOr(identityShape),
});

/** Reads alternatives as a document of the verifier states them. @throws RefusalError `shape-*`, `hex-malformed` */
export const deviceSetsShape: Shape<readonly DeviceSet[]> = listShape(
  { minItems: 0, maxItems: MAX_DEVICE_SETS },
  listShape({ minItems: 1, maxItems: MAX_DEVICES }, demandShape),
);

/** A set in words, for example `1 × sev-snp and 8 × nvidia-gpu`. */
export function deviceSetText(set: DeviceSet): string {
  return set.map((demand) => `${demand.count} × ${demand.class}`).join(' and ');
}

/** How many devices of one class are there and how many a set wants. */
export interface ClassCount {
  readonly class: string;
  readonly expected: number;
  readonly found: number;
}

/** The classes of a set, and those of a bundle that the set does not name, with both counts. */
export function countClasses(set: DeviceSet, classes: readonly string[]): readonly ClassCount[] {
  const expected = new Map<string, number>();
  for (const demand of set) expected.set(demand.class, (expected.get(demand.class) ?? 0) + demand.count);
  const names = [...new Set([...expected.keys(), ...classes])];
  return names.map((name) => ({
    class: name,
    expected: expected.get(name) ?? 0,
    found: classes.filter((found) => found === name).length,
  }));
}

/** The sets of which a bundle with devices of these classes is, whatever the devices are. */
export function setsOfClasses(sets: readonly DeviceSet[], classes: readonly string[]): readonly DeviceSet[] {
  return sets.filter((set) => distance(set, classes) === 0);
}

/** The set that needs the fewest devices added or taken away; the first of several. */
export function nearestSet(sets: readonly DeviceSet[], classes: readonly string[]): DeviceSet | undefined {
  return sets.toSorted((left, right) => distance(left, classes) - distance(right, classes))[0];
}

function distance(set: DeviceSet, classes: readonly string[]): number {
  return countClasses(set, classes).reduce((sum, { expected, found }) => sum + Math.abs(expected - found), 0);
}

/** A device whose own evidence was accepted, as sets look at it. */
export interface JudgedDevice {
  readonly class: string;
  readonly identity: string;
  readonly model: string;
}

/** The devices that a set names not: of another model, or not on its list. */
export function strangers(
  set: DeviceSet,
  devices: readonly JudgedDevice[],
  member: 'models' | 'devices',
): readonly JudgedDevice[] {
  return devices.filter((device) => {
    const allowed = set.find((demand) => demand.class === device.class)?.[member] ?? [];
    return allowed !== 'any' && !allowed.includes(member === 'models' ? device.model : device.identity);
  });
}
