/**
 * What the tokens say, as declared tables of NVIDIA's claims 2.0 and 3.0. A claim that no table knows is refused: it could
 * say that something else about the device is not as it should be (docs/decisions/0137-unknown-claims-are-refused.md).
 */

import type { JsonValue } from '../../core/canonical-json.ts';
import {
  anyShape,
  booleanShape,
  hexShape,
  integerShape,
  literalShape,
  mapShape,
  nullableShape,
  objectShape,
  textShape,
} from '../../core/json-shape.ts';
import type { Shape, ShapeValue } from '../../core/json-shape.ts';
import { DEVICE_NAME, MAX_DEVICES } from './answer.ts';
import { nrasFormatRefusals, openShape, pairShape } from './format.ts';

const timeShape = integerShape({ min: 0, max: 253_402_300_799 });
const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,256}$/ });
const nonceShape = hexShape({ bytes: [32] });

/** Members of every token of the service. Times are POSIX seconds. */
const COMMON = { iss: lineShape, iat: timeShape, nbf: timeShape, exp: timeShape, jti: lineShape } as const;
export type CommonClaims = ShapeValue<typeof commonShape>;
const commonShape = objectShape(COMMON);

/** Who issued a token and when, of whatever else it speaks. @throws RefusalError `shape-*` */
export function readCommonClaims(payload: JsonValue, field: string): CommonClaims {
  return commonShape(only(Object.keys(COMMON), payload), field);
}

/** The members of these names, for a shape that leaves the others to another one. */
function only(names: readonly string[], value: JsonValue): JsonValue {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return value;
  return Object.fromEntries(Object.entries(value).filter(([name]) => names.includes(name)));
}

/** `["DIGEST", ["SHA-256", hex]]` (RFC 9711 section 4.2.18.2). */
const digestShape: Shape<Uint8Array> = (value, path) => {
  const [label, digest] = pairShape(value, path);
  literalShape('DIGEST')(label, `${path}[0]`);
  const [hash, hex] = pairShape(digest, `${path}[1]`);
  literalShape('SHA-256')(hash, `${path}[1][0]`);
  return nonceShape(hex, `${path}[1][1]`);
};

const overallShape = objectShape({
  ...COMMON,
  sub: literalShape('NVIDIA-PLATFORM-ATTESTATION'),
  'x-nvidia-ver': literalShape('2.0', '3.0'),
  'x-nvidia-overall-att-result': booleanShape,
  eat_nonce: nonceShape,
  submods: mapShape({ name: DEVICE_NAME, maxMembers: MAX_DEVICES }, digestShape),
});
export type OverallClaims = ShapeValue<typeof overallShape>;

/** @throws RefusalError `shape-*`, `hex-malformed` */
export function readOverallClaims(payload: JsonValue, field: string): OverallClaims {
  return overallShape(payload, field);
}

const ERROR_DETAILS = 'x-nvidia-error-details';
const failureShape = objectShape({
  ...COMMON,
  [ERROR_DETAILS]: openShape(
    { code: integerShape({ min: 0, max: 1_000_000 }), message: lineShape },
    {
      fieldName: nullableShape(lineShape),
      httpStatus: nullableShape(lineShape),
      description: nullableShape(lineShape),
    },
  ),
});

/** Why the service could not judge a device; undefined when it did. @throws RefusalError `shape-*` */
export function readFailure(payload: JsonValue, field: string): string | undefined {
  if (typeof payload !== 'object' || payload === null || !Object.hasOwn(payload, ERROR_DETAILS))
    return undefined;
  const { code, message } = failureShape(payload, field)[ERROR_DETAILS];
  return `${code} ${message}`;
}

export type NrasDeviceKind = 'gpu' | 'switch';

/** The claims of one kind of device in one version. */
interface ClaimsTable {
  /** Results by name, with the only value that is good. */
  readonly results: Readonly<Record<string, JsonValue>>;
  /** Names of what is said of certificate chains. */
  readonly chains: readonly string[];
  readonly driverVersion: string | undefined;
  readonly vbiosVersion: string;
}

function allTrue(prefix: string, ...names: readonly string[]): Readonly<Record<string, true>> {
  return Object.fromEntries(names.map((name) => [`${prefix}-${name}`, true] as const));
}

const JUDGED = {
  measres: 'success',
  secboot: true,
  dbgstat: 'disabled',
  'x-nvidia-attestation-warning': null,
} as const;
const REPORT = ['parsed', 'nonce-match', 'signature-verified'] as const;
const MANIFEST = ['fetched', 'schema-validated', 'signature-verified', 'measurements-available'] as const;
const CHAIN = 'cert-chain';

const GPU_RESULTS = {
  ...JUDGED,
  oemid: '5703',
  ...allTrue('x-nvidia-gpu', 'arch-check', 'vbios-index-no-conflict'),
  ...allTrue('x-nvidia-gpu-attestation-report', ...REPORT),
  ...allTrue('x-nvidia-gpu-driver-rim', ...MANIFEST),
  ...allTrue('x-nvidia-gpu-vbios-rim', ...MANIFEST),
} as const;
const GPU_VERSIONS = {
  driverVersion: 'x-nvidia-gpu-driver-version',
  vbiosVersion: 'x-nvidia-gpu-vbios-version',
} as const;

const TABLES: Readonly<
  Record<`${NrasDeviceKind} ${OverallClaims['x-nvidia-ver']}`, ClaimsTable | undefined>
> = {
  'gpu 2.0': {
    results: {
      ...GPU_RESULTS,
      ...allTrue('x-nvidia-gpu', 'attestation-report-cert-chain-validated'),
      ...allTrue('x-nvidia-gpu', 'driver-rim-cert-validated', 'vbios-rim-cert-validated'),
    },
    chains: [],
    ...GPU_VERSIONS,
  },
  'gpu 3.0': {
    results: {
      ...GPU_RESULTS,
      ...allTrue('x-nvidia-gpu', 'attestation-report-cert-chain-fwid-match'),
      ...allTrue('x-nvidia-gpu', 'driver-rim-version-match', 'vbios-rim-version-match'),
    },
    chains: ['attestation-report', 'driver-rim', 'vbios-rim'].map((name) => `x-nvidia-gpu-${name}-${CHAIN}`),
    ...GPU_VERSIONS,
  },
  // No token about a switch in claims 2.0 has been seen.
  'switch 2.0': undefined,
  'switch 3.0': {
    results: {
      ...JUDGED,
      oemid: null,
      ...allTrue('x-nvidia-switch', 'arch-check', 'bios-rim-version-match'),
      ...allTrue('x-nvidia-switch-attestation-report', ...REPORT, 'cert-chain-fwid-match'),
      ...allTrue('x-nvidia-switch-bios-rim', ...MANIFEST),
    },
    chains: ['attestation-report', 'bios-rim'].map((name) => `x-nvidia-switch-${name}-${CHAIN}`),
    driverVersion: undefined,
    vbiosVersion: 'x-nvidia-switch-bios-version',
  },
};

/** What the service says of one device that it judged. */
export interface NrasDeviceClaims {
  readonly kind: NrasDeviceKind;
  readonly nonce: Uint8Array;
  /** The serial number of the leaf certificate, in decimal. */
  readonly ueid: string;
  readonly hwmodel: string;
  /** Undefined for a switch, which has no driver of its own. */
  readonly driverVersion: string | undefined;
  readonly vbiosVersion: string;
  /** Names of the claims whose value is not the one of a good device, in order. */
  readonly adverse: readonly string[];
}

const IDENTITY = {
  eat_nonce: nonceShape,
  ueid: textShape({ pattern: /^(?:0|[1-9][0-9]{0,60})$/ }),
  hwmodel: lineShape,
} as const;
const identityShape = objectShape(IDENTITY);

/** What a token of claims 3.0 says of one chain, with the values of a good one; the date is as in RFC 3339. */
const GOOD_CHAIN = {
  'x-nvidia-cert-status': 'valid',
  'x-nvidia-cert-ocsp-status': 'good',
  'x-nvidia-cert-revocation-reason': null,
} as const;
const chainShape = objectShape({
  'x-nvidia-cert-status': lineShape,
  'x-nvidia-cert-ocsp-status': lineShape,
  'x-nvidia-cert-revocation-reason': nullableShape(lineShape),
  'x-nvidia-cert-expiration-date': lineShape,
});

/** @throws RefusalError `nras-malformed` for claims that no table describes, `shape-*`, `hex-malformed` */
export function readDeviceClaims(
  payload: JsonValue,
  kind: NrasDeviceKind,
  version: OverallClaims['x-nvidia-ver'],
  field: string,
): NrasDeviceClaims {
  const table = TABLES[`${kind} ${version}`];
  if (table === undefined) {
    const found = `claims ${version} about a ${kind}`;
    throw nrasFormatRefusals.error('nras-malformed', { field, expected: 'claims that are known', found });
  }
  const { results, chains, driverVersion, vbiosVersion } = table;
  const versions = [driverVersion, vbiosVersion].filter((name) => name !== undefined);
  const names = [...Object.keys({ ...COMMON, ...IDENTITY, ...results }), ...chains, ...versions];
  const members = objectShape(Object.fromEntries(names.map((name) => [name, anyShape])))(payload, field);
  const identity = identityShape(only(Object.keys(IDENTITY), payload), field);
  const textOf = (name: string): string => lineShape(members[name] ?? null, `${field}.${name}`);
  const isGoodChain = (name: string): boolean =>
    isGood(chainShape(members[name] ?? null, `${field}.${name}`), GOOD_CHAIN);
  return {
    kind,
    nonce: identity.eat_nonce,
    ueid: identity.ueid,
    hwmodel: identity.hwmodel,
    driverVersion: driverVersion && textOf(driverVersion),
    vbiosVersion: textOf(vbiosVersion),
    adverse: [
      ...Object.keys(results).filter((name) => members[name] !== results[name]),
      ...chains.filter((name) => !isGoodChain(name)),
    ],
  };
}

function isGood(
  found: Readonly<Record<string, JsonValue>>,
  expected: Readonly<Record<string, JsonValue>>,
): boolean {
  return Object.entries(expected).every(([name, value]) => found[name] === value);
}
