/**
 * The JSON documents of the verifier's side that the verdict on a GPU or switch depends on: the appraisal policy, reference
 * values and the enrolment record. All are logged or published, so that a decision can be derived again (W10). All members
 * must be there; where one may be left open it says so by the word `any`.
 */

import type { JsonValue } from '../core/canonical-json.ts';
import {
  hexShape,
  integerShape,
  listShape,
  literalShape,
  objectShape,
  textShape,
} from '../core/json-shape.ts';
import type { Shape, ShapeValue } from '../core/json-shape.ts';
import { GPU_CHIPS, SWITCH_CHIPS } from './chips.ts';
import { MODES } from './mode.ts';
import { driverVersion, vbiosVersion } from './vbios-version.ts';

const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,200}$/ });
const nameShape = textShape({ pattern: /^[a-z0-9][a-z0-9.-]{0,63}$/ });
/** A day, or a month where the day is not known. */
const dateShape = textShape({ pattern: /^[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?$/ });
const secondsShape = integerShape({ min: 0, max: 2 ** 40 });
const identitiesShape = (minItems: number): Shape<readonly Uint8Array[]> =>
  listShape({ minItems, maxItems: 10_000 }, hexShape({ bytes: [32] }));
const contentDigestShape = hexShape({ bytes: [48] });
const driverShape: Shape<string> = (value, path) => driverVersion(lineShape(value, path), path);
const vbiosShape: Shape<string> = (value, path) => vbiosVersion(lineShape(value, path), path);
/** As in `550.90.07`: of the drivers 535 and 545, which send no FWID. */
const driverWithoutFwidShape = textShape({ pattern: /^5[34]5(?:\.[0-9]{1,4}){1,3}$/ });

/** A list of values, or the word that leaves it open. */
function anyOr<T>(list: Shape<T>): Shape<T | 'any'> {
  return (value, path) => (value === 'any' ? 'any' : list(value, path));
}

const gpuMinimumShape = objectShape({
  chip: literalShape(...GPU_CHIPS),
  driver: driverShape,
  vbios: vbiosShape,
});
const switchMinimumShape = objectShape({ chip: literalShape(...SWITCH_CHIPS), vbios: vbiosShape });

/** The oldest versions that are accepted of one chip. A switch has no driver of its own. */
export interface MinimumVersions {
  readonly chip: string;
  readonly driver?: string;
  readonly vbios: string;
}

const MAX_CHIPS = 16;

/** Members that policies of GPUs and of switches have alike. */
const commonPolicy = {
  version: literalShape(1),
  manifests: objectShape({
    /** Whether only manifests count that stand among the reference values. */
    issues: literalShape('listed', 'any'),
    deniedDigests: listShape({ minItems: 0, maxItems: 1000 }, contentDigestShape),
    /** Since when the certificate of a manifest's signer is valid at the earliest. */
    signerNotBefore: secondsShape,
    /** Whether the measurement of a video decoder counts that is switched off. */
    disabledNvdec: literalShape('compare', 'skip'),
    /** What is said of manifests whose signer is on hold: software before its release. */
    hold: literalShape('refuse', 'accept'),
    /** Measurements, counted as in manifests, that may be there although no manifest covers them. */
    uncovered: listShape({ minItems: 0, maxItems: 64 }, integerShape({ min: 0, max: 63 })),
  }),
  revocation: objectShape({ maxAgeSeconds: secondsShape }),
  /** Whether NVIDIA's remote service has to have judged the device as well. */
  remoteResult: literalShape('not-used', 'required'),
  devices: objectShape({ allowed: anyOr(identitiesShape(1)), denied: identitiesShape(0) }),
  enrolment: literalShape('required', 'not-required'),
} as const;

const minimumVersionsShape = <T>(chip: Shape<T>) =>
  objectShape({
    sets: listShape({ minItems: 0, maxItems: 16 }, nameShape),
    chips: listShape({ minItems: 0, maxItems: MAX_CHIPS }, chip),
  });

const gpuPolicyShape = objectShape({
  ...commonPolicy,
  class: literalShape('nvidia-gpu'),
  chips: listShape({ minItems: 1, maxItems: GPU_CHIPS.length }, literalShape(...GPU_CHIPS)),
  modes: listShape({ minItems: 1, maxItems: MODES.length }, literalShape(...MODES)),
  /** What is said of a report without any word about its mode. */
  unstatedMode: literalShape('refuse', 'accept'),
  driversWithoutFwid: listShape({ minItems: 0, maxItems: 16 }, driverWithoutFwidShape),
  minimumVersions: minimumVersionsShape(gpuMinimumShape),
});

const switchPolicyShape = objectShape({
  ...commonPolicy,
  class: literalShape('nvswitch'),
  chips: listShape({ minItems: 1, maxItems: SWITCH_CHIPS.length }, literalShape(...SWITCH_CHIPS)),
  minimumVersions: minimumVersionsShape(switchMinimumShape),
});

/** What the operator demands of GPUs; every member is explained in docs/spec/nvidia-gpu.md, section 7. */
export type GpuPolicy = ShapeValue<typeof gpuPolicyShape>;
export type SwitchPolicy = ShapeValue<typeof switchPolicyShape>;
/** Either, told apart by `class`. */
export type DevicePolicy = GpuPolicy | SwitchPolicy;
export type DeviceClassName = DevicePolicy['class'];

/** @throws RefusalError `shape-*`, `hex-malformed`, `gpu-version` */
export function readGpuPolicy(value: JsonValue): GpuPolicy {
  return gpuPolicyShape(value, 'policy');
}

/** @throws RefusalError `shape-*`, `hex-malformed`, `gpu-version` */
export function readSwitchPolicy(value: JsonValue): SwitchPolicy {
  return switchPolicyShape(value, 'policy');
}

const manifestShape = <const Name extends DeviceClassName>(deviceClass: Name) =>
  objectShape({
    version: literalShape(1),
    class: literalShape(deviceClass),
    kind: literalShape('manifest'),
    name: lineShape,
    /** Under which identifier NVIDIA's service gives it. */
    manifestId: textShape({ pattern: /^[A-Z0-9._]{1,128}$/ }),
    /** SHA-384 of the canonical content. */
    contentDigest: contentDigestShape,
    provenance: objectShape({ source: lineShape, recordedAt: secondsShape }),
  });

/** One issue of a manifest that is known to be good. */
export type ManifestReference = ShapeValue<ReturnType<typeof manifestShape>>;

const minimumSetShape = <const Name extends DeviceClassName, T>(deviceClass: Name, chip: Shape<T>) =>
  objectShape({
    version: literalShape(1),
    class: literalShape(deviceClass),
    kind: literalShape('minimum-versions'),
    name: nameShape,
    date: dateShape,
    bulletins: listShape(
      { minItems: 1, maxItems: 64 },
      objectShape({
        bulletin: lineShape,
        date: dateShape,
        source: lineShape,
        chips: listShape({ minItems: 1, maxItems: MAX_CHIPS }, chip),
      }),
    ),
  });

const REFERENCE_SHAPES = {
  'nvidia-gpu': {
    manifest: manifestShape('nvidia-gpu'),
    minimumSet: minimumSetShape('nvidia-gpu', gpuMinimumShape),
  },
  nvswitch: {
    manifest: manifestShape('nvswitch'),
    minimumSet: minimumSetShape('nvswitch', switchMinimumShape),
  },
} as const;

/** Minimum versions under a name, each with the security bulletin that asks for it. */
export interface MinimumVersionSet {
  readonly kind: 'minimum-versions';
  readonly name: string;
  readonly date: string;
  readonly bulletins: readonly {
    readonly bulletin: string;
    readonly date: string;
    readonly source: string;
    readonly chips: readonly MinimumVersions[];
  }[];
}

/** Reads one reference value document of either kind. @throws RefusalError `shape-*`, `hex-malformed`, `gpu-version` */
export function readReferenceValues(
  deviceClass: DeviceClassName,
  value: JsonValue,
): ManifestReference | MinimumVersionSet {
  const { manifest, minimumSet } = REFERENCE_SHAPES[deviceClass];
  const isMinimumSet =
    typeof value === 'object' && value !== null && 'kind' in value && value['kind'] === 'minimum-versions';
  return isMinimumSet ? minimumSet(value, 'referenceValues') : manifest(value, 'referenceValues');
}

const recordShape = <const Name extends DeviceClassName>(deviceClass: Name) =>
  objectShape({
    version: literalShape(1),
    class: literalShape(deviceClass),
    lab: lineShape,
    identity: hexShape({ bytes: [32] }),
  });
const RECORD_SHAPES = { 'nvidia-gpu': recordShape('nvidia-gpu'), nvswitch: recordShape('nvswitch') } as const;

/** Which lab a device belongs to. Nothing is activated: the endorsement comes with each report. */
export type DeviceEnrolmentRecord = ShapeValue<ReturnType<typeof recordShape>>;

/** @throws RefusalError `shape-*` */
export function readEnrolmentRecord(deviceClass: DeviceClassName, value: JsonValue): DeviceEnrolmentRecord {
  return RECORD_SHAPES[deviceClass](value, 'enrolment');
}
