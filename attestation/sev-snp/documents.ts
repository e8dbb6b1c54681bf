/**
 * The JSON documents of the verifier's side that the verdict on an SEV-SNP report depends on: the appraisal policy,
 * reference values and the enrolment record. All are logged or published, so that a decision can be derived again
 * (W10). Where a member may be left open it says so by the word `any`; nothing is unchecked because it is missing.
 */

import { isZero, toHex } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import {
  booleanShape,
  hexShape,
  integerShape,
  listShape,
  literalShape,
  mapShape,
  objectShape,
  textShape,
} from '../core/json-shape.ts';
import type { Shape, ShapeValue } from '../core/json-shape.ts';
import { defineRefusals } from '../core/refusal.ts';
import type { FirmwareVersion, GuestPolicy, PlatformInfo } from './layout.ts';
import { PRODUCT_LINES } from './product.ts';
import type { Tcb } from './tcb.ts';

export const documentRefusals = defineRefusals('malformed', {
  'snp-document': {
    means: 'A policy or a set of reference values for SEV-SNP contradicts itself.',
    hint: 'Compare it with docs/spec/sev-snp.md; a rule that relies on an ID block needs the digests of ID keys.',
  },
});

const lineShape = textShape({ pattern: /^[\x20-\x7e]{1,200}$/ });
const nameShape = textShape({ pattern: /^[a-z0-9][a-z0-9.-]{0,63}$/ });
/** A day, or a month where the day is not known. */
const dateShape = textShape({ pattern: /^[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?$/ });
const byteShape = integerShape({ min: 0, max: 255 });
const u32Shape = integerShape({ min: 0, max: 0xffffffff });
const secondsShape = integerShape({ min: 0, max: 2 ** 40 });
const productLineShape = literalShape(...PRODUCT_LINES);

/** A list of values, or the word that leaves it open. */
function anyOr<T>(list: Shape<T>): Shape<T | 'any'> {
  return (value, path) => (value === 'any' ? 'any' : list(value, path));
}

const firmwareShape: Shape<FirmwareVersion> = (value, path) => {
  const text = textShape({ pattern: /^(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){2}$/ })(value, path);
  const [major = 0, minor = 0, build = 0] = text.split('.').map((part) => byteShape(Number(part), path));
  return { major, minor, build };
};

/** Security patch levels. `fmc` is null for processors before Turin, which have none. */
const tcbShape: Shape<Tcb> = (value, path) => {
  const levels = objectShape({
    fmc: (fmc, at) => (fmc === null ? undefined : byteShape(fmc, at)),
    bootLoader: byteShape,
    tee: byteShape,
    snp: byteShape,
    microcode: byteShape,
  })(value, path);
  return levels;
};

/** Family, model and stepping in hexadecimal; or the product line, which stands for reports that name no processor. */
const processorShape = textShape({ pattern: /^(?:[0-9a-f]{2}-[0-9a-f]{2}-[0-9a-f]{2}|Milan|Genoa|Turin)$/ });

const processorMinimumShape = objectShape({
  processor: processorShape,
  tcb: tcbShape,
  /** Lowest committed and current firmware; `0.0.0` when the levels above say everything. */
  firmware: firmwareShape,
});
/** The lowest levels that are accepted of one processor. */
export type ProcessorMinimum = ShapeValue<typeof processorMinimumShape>;
const processorMinimumsShape = listShape({ minItems: 0, maxItems: 256 }, processorMinimumShape);

const restrictions = [
  'singleSocket',
  'memAes256Xts',
  'raplDis',
  'ciphertextHidingDram',
  'pageSwapDisable',
] as const satisfies readonly (keyof GuestPolicy)[];
const permissions = ['smtAllowed', 'cxlAllow'] as const satisfies readonly (keyof GuestPolicy)[];
const platformBits = [
  'smtEn',
  'tsmeEn',
  'eccEn',
  'raplDis',
  'ciphertextHidingDramEn',
  'aliasCheckComplete',
  'tioEn',
] as const satisfies readonly (keyof PlatformInfo)[];

const namesOf = <const T extends string>(...names: readonly T[]): Shape<readonly T[]> =>
  listShape({ minItems: 0, maxItems: names.length }, literalShape(...names));
const bitsShape: Shape<bigint> = (value, path) => BigInt(`0x${toHex(hexShape({ bytes: [8] })(value, path))}`);
const digestsShape = (bytes: number): Shape<readonly Uint8Array[] | 'any'> =>
  anyOr(listShape({ minItems: 1, maxItems: 1000 }, hexShape({ bytes: [bytes] })));
const chipsShape = (minItems: number): Shape<readonly Uint8Array[]> =>
  listShape({ minItems, maxItems: 10_000 }, hexShape({ bytes: [8, 64] }));

const policyShape = objectShape({
  version: literalShape(1),
  class: literalShape('sev-snp'),
  reportVersions: listShape({ minItems: 1, maxItems: 4 }, literalShape(2, 3, 4, 5)),
  signingKeys: listShape({ minItems: 1, maxItems: 2 }, literalShape('vcek', 'vlek')),
  productLines: listShape({ minItems: 1, maxItems: PRODUCT_LINES.length }, productLineShape),
  vmpls: listShape({ minItems: 1, maxItems: 4 }, integerShape({ min: 0, max: 3 })),
  minimumTcb: objectShape({
    sets: listShape({ minItems: 0, maxItems: 16 }, nameShape),
    processors: processorMinimumsShape,
  }),
  allowProvisionalFirmware: booleanShape,
  guestPolicy: objectShape({
    minimumAbi: objectShape({ major: byteShape, minor: byteShape }),
    required: namesOf(...restrictions),
    forbidden: namesOf(...permissions),
  }),
  platformInfo: objectShape({
    required: namesOf(...platformBits),
    forbidden: namesOf(...platformBits),
    toleratedUnknownBits: bitsShape,
  }),
  minimumGuestSvn: u32Shape,
  familyIds: digestsShape(16),
  imageIds: digestsShape(16),
  idKeyDigests: digestsShape(48),
  authorKeyDigests: digestsShape(48),
  hostData: digestsShape(32),
  mitigations: objectShape({ launch: bitsShape, current: bitsShape }),
  migrationAgents: listShape({ minItems: 0, maxItems: 100 }, hexShape({ bytes: [32] })),
  chips: objectShape({ allowed: anyOr(chipsShape(1)), denied: chipsShape(0), allowMasked: booleanShape }),
  cspIds: listShape({ minItems: 0, maxItems: 100 }, lineShape),
  revocation: objectShape({
    missingList: literalShape('refuse', 'accept'),
    maxAgeSeconds: secondsShape,
    minimumNumbers: objectShape({ Milan: u32Shape, Genoa: u32Shape, Turin: u32Shape }),
  }),
  enrolment: literalShape('required', 'not-required'),
});

/**
 * What the operator demands of SEV-SNP guests; every member is explained in docs/spec/sev-snp.md, section 7. No
 * member can loosen the floors of appraise.ts. An all-zero digest in a list stands for a report without an ID block.
 */
export type SevSnpPolicy = ShapeValue<typeof policyShape>;

/** @throws RefusalError `shape-*`, `hex-malformed`, `snp-document` */
export function readPolicy(value: JsonValue): SevSnpPolicy {
  const policy = policyShape(value, 'policy');
  const { familyIds, imageIds, minimumGuestSvn, idKeyDigests } = policy;
  const reliesOnIdBlock = familyIds !== 'any' || imageIds !== 'any' || minimumGuestSvn > 0;
  const isAnyone = idKeyDigests === 'any' || idKeyDigests.some(isZero);
  if (reliesOnIdBlock && isAnyone) {
    throw contradiction(
      'policy.idKeyDigests',
      'ID keys, where familyIds, imageIds or minimumGuestSvn rely on an ID block',
      idKeyDigests === 'any' ? 'any' : 'a list that allows reports without an ID block',
    );
  }
  const { required, forbidden } = policy.platformInfo;
  const both = required.find((name) => forbidden.includes(name));
  if (both !== undefined) {
    throw contradiction('policy.platformInfo', 'no bit both required and forbidden', both);
  }
  return policy;
}

function contradiction(field: string, expected: string, found: string): Error {
  return documentRefusals.error('snp-document', { field, expected, found });
}

const artefactShape = objectShape({
  /** What it is for the launch, for example `firmware`, `kernel`, `initrd`, `cmdline`. */
  role: nameShape,
  sha256: hexShape({ bytes: [32] }),
});

const launchShape = objectShape({
  version: literalShape(1),
  class: literalShape('sev-snp'),
  kind: literalShape('launch'),
  name: lineShape,
  measurement: hexShape({ bytes: [48] }),
  provenance: objectShape({
    /** `derived` from the artefacts by recomputing the launch, or `recorded` from a guest that is known to be good. */
    method: literalShape('derived', 'recorded'),
    tool: lineShape,
    toolVersion: lineShape,
    artefacts: listShape({ minItems: 0, maxItems: 64 }, artefactShape),
    /** What else decided the value: number and model of processors, hypervisor, features. */
    parameters: mapShape({ name: /^[a-zA-Z][a-zA-Z0-9]{0,31}$/, maxMembers: 32 }, lineShape),
    madeAt: secondsShape,
  }),
});
/** One launch measurement that is known to be good, and how it came about. */
export type LaunchReference = ShapeValue<typeof launchShape>;

const minimumSetShape = objectShape({
  version: literalShape(1),
  class: literalShape('sev-snp'),
  kind: literalShape('minimum-tcb'),
  name: nameShape,
  date: dateShape,
  bulletins: listShape(
    { minItems: 1, maxItems: 64 },
    objectShape({
      bulletin: lineShape,
      date: dateShape,
      source: lineShape,
      confidence: literalShape('high', 'medium', 'low'),
      processors: listShape({ minItems: 1, maxItems: 64 }, processorMinimumShape),
    }),
  ),
});
/** Minimum TCB levels under a name, each with the security bulletin that asks for it. */
export type MinimumTcbSet = ShapeValue<typeof minimumSetShape>;

/** Reads one reference value document of either kind. @throws RefusalError `shape-*`, `hex-malformed`, `snp-document` */
export function readReferenceValues(value: JsonValue): LaunchReference | MinimumTcbSet {
  const isMinimumSet =
    typeof value === 'object' && value !== null && 'kind' in value && value['kind'] === 'minimum-tcb';
  if (isMinimumSet) return minimumSetShape(value, 'referenceValues');
  const launch = launchShape(value, 'referenceValues');
  const { method, artefacts } = launch.provenance;
  if (method === 'derived' && artefacts.length === 0) {
    throw contradiction(`referenceValues ${launch.name}`, 'the artefacts that it was derived from', 'none');
  }
  return launch;
}

const recordShape = objectShape({
  version: literalShape(1),
  class: literalShape('sev-snp'),
  lab: lineShape,
  identity: hexShape({ bytes: [32] }),
});
/** Which lab a machine belongs to. Nothing is activated: the endorsement comes with each report. */
export type SevSnpEnrolmentRecord = ShapeValue<typeof recordShape>;

/** @throws RefusalError `shape-*` */
export function readEnrolmentRecord(value: JsonValue): SevSnpEnrolmentRecord {
  return recordShape(value, 'enrolment');
}
