/**
 * What a manifest says: a SWID tag (ISO/IEC 19770-2) with the attributes of the TCG RIM information model and of NVIDIA's
 * opaque data. Facts only: whether it is authentic is for authenticate.ts, whether it is the right one for appraise.ts.
 */

import { excerpt, fromHex } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { attributesOf, elementsNamed, elementsOf } from './xml-shape.ts';
import type { AttributeTable } from './xml-shape.ts';
import type { XmlElement } from './xml.ts';

export const manifestRefusals = defineRefusals('malformed', {
  'rim-resource': {
    means: 'A reference value in a manifest contradicts itself or is about something that has no meaning.',
    hint: 'The file is of a format that is newer than this release, or was made wrongly.',
  },
  'rim-duplicate-index': {
    means: 'A manifest has two reference values for one index.',
    hint: 'Readers that keep the first and readers that keep the last would not agree; fetch the manifest again.',
  },
});

/** What a measurement block must be. */
export interface ReferenceMeasurement {
  /** 0 to 63; the report counts from 1. */
  readonly index: number;
  readonly name: string;
  /** Whether it takes part in the comparison. */
  readonly isActive: boolean;
  /** The block must be one of these, 48 bytes each; at least one. */
  readonly alternatives: readonly Uint8Array[];
}

/** How low a security version in the opaque data may be. */
export interface ReferenceSecurityVersion {
  /** Type of the field in the opaque data. */
  readonly opaqueType: number;
  readonly name: string;
  readonly isActive: boolean;
  readonly minimum: number;
}

export type RimEdition = 'GPU' | 'SWITCH';

export interface RimManifest {
  readonly tagId: string;
  /** The chip, for example `GH100`. */
  readonly product: string;
  readonly edition: RimEdition;
  /** Version of the driver or VBIOS, as reports state it. */
  readonly colloquialVersion: string;
  readonly measurements: readonly ReferenceMeasurement[];
  readonly securityVersions: readonly ReferenceSecurityVersion[];
}

export const DIGEST_BYTES = 48;
const MAX_RESOURCES = 256;
const MAX_ALTERNATIVES = 16;
const LAST_MEASUREMENT = 63;
const FIRST_OPAQUE_INDEX = 0x1000;
const LAST_OPAQUE_INDEX = 0x10fff;
const LAST_SECURITY_VERSION = 0xffff;

/** Printable ASCII, as all values of genuine manifests are. */
const TEXT = /^[\x20-\x7e]{1,200}$/;
const FLAG = /^(?:True|False)$/;
const NUMBER = /^(?:0|[1-9][0-9]{0,4})$/;
/** NVIDIA's private enterprise number at IANA. */
const NVIDIA = /^5703$/;

const TAG_ATTRIBUTES = {
  name: TEXT,
  tagId: /^[0-9A-Za-z._-]{1,200}$/,
  version: TEXT,
  tagVersion: NUMBER,
  corpus: /^false$/,
  patch: /^false$/,
  supplemental: /^false$/,
};

const META_ATTRIBUTES = {
  colloquialVersion: /^[0-9A-Za-z][0-9A-Za-z.]{0,63}$/,
  product: /^[0-9A-Z_]{1,32}$/,
  edition: /^(?:GPU|SWITCH)$/,
  revision: TEXT,
  PayloadType: /^direct$/,
  'tcg:BindingSpec': /^RIMIM$/,
  'tcg:BindingSpecVersion': TEXT,
  'tcg:PlatformManufacturerId': NVIDIA,
  'tcg:PlatformManufacturerStr': TEXT,
  'tcg:PlatformModel': TEXT,
  'tcg:FirmwareManufacturer': TEXT,
  'tcg:FirmwareManufacturerId': NVIDIA,
};

const RESOURCE_ATTRIBUTES = { type: /^Measurement$/, index: NUMBER, active: FLAG, name: TEXT };
const HASH = /^(?:[0-9A-Fa-f]{2}){48}$/;
const hashName = (place: number): string => `sha384:Hash${place}`;
/** Which of these a resource has follows from its index. */
const KIND_ATTRIBUTES: AttributeTable = {
  size: NUMBER,
  alternatives: NUMBER,
  'opaque:minSvn': NUMBER,
  'opaque:includeInResult': FLAG,
  ...Object.fromEntries(Array.from({ length: MAX_ALTERNATIVES }, (_, place) => [hashName(place), HASH])),
};

/**
 * Reads the content of a manifest, without its signature.
 *
 * @throws RefusalError `rim-element`, `rim-attribute`, `rim-value`, `rim-resource`, `rim-duplicate-index`
 */
export function readManifest(root: XmlElement): RimManifest {
  if (root.name !== 'swid:SoftwareIdentity') {
    throw refuse('rim-resource', 'rim', 'a SoftwareIdentity', excerpt(root.name));
  }
  const { tagId } = attributesOf(root, 'rim', TAG_ATTRIBUTES);
  const [entity, meta, payload] = elementsOf(root, 'rim', ['swid:Entity', 'swid:Meta', 'swid:Payload']);
  attributesOf(entity, 'rim.Entity', { name: TEXT, role: TEXT });
  elementsOf(entity, 'rim.Entity', []);
  const { product, edition, colloquialVersion } = attributesOf(meta, 'rim.Meta', META_ATTRIBUTES);
  elementsOf(meta, 'rim.Meta', []);
  const resources = readPayload(payload, 'rim.Payload');
  return {
    ...{ tagId, product, colloquialVersion },
    edition: edition === 'GPU' ? 'GPU' : 'SWITCH',
    measurements: resources.filter((resource) => 'alternatives' in resource),
    securityVersions: resources.filter((resource) => 'minimum' in resource),
  };
}

type Resource = ReferenceMeasurement | ReferenceSecurityVersion;

function readPayload(payload: XmlElement, path: string): readonly Resource[] {
  attributesOf(payload, path, {});
  const elements = elementsNamed(payload, path, 'swid:Resource');
  if (elements.length === 0 || elements.length > MAX_RESOURCES) {
    throw refuse('rim-resource', path, `1 to ${MAX_RESOURCES} resources`, String(elements.length));
  }
  const seen = new Set<number>();
  return elements.map((element, i) => {
    const at = `${path}[${i}]`;
    elementsOf(element, at, []);
    const values: ResourceValues = attributesOf(element, at, RESOURCE_ATTRIBUTES, KIND_ATTRIBUTES);
    const index = Number(values.index);
    if (seen.has(index)) throw refuse('rim-duplicate-index', at, 'each index once', `${index} again`);
    seen.add(index);
    return readResource(values, index, at);
  });
}

type ResourceValues = Readonly<Record<keyof typeof RESOURCE_ATTRIBUTES, string>> &
  Readonly<Partial<Record<string, string>>>;

function readResource(values: ResourceValues, index: number, path: string): Resource {
  const common = { name: values.name, isActive: values.active === 'True' };
  if (index <= LAST_MEASUREMENT) {
    return { index, ...common, alternatives: readAlternatives(values, path) };
  }
  if (index < FIRST_OPAQUE_INDEX || index > LAST_OPAQUE_INDEX) {
    throw refuse('rim-resource', path, 'an index of 0 to 63 or 4096 to 69631', String(index));
  }
  return { opaqueType: index - FIRST_OPAQUE_INDEX, ...common, minimum: readMinimum(values, path) };
}

function readAlternatives(values: ResourceValues, path: string): readonly Uint8Array[] {
  expectOf(values, path, {
    size: String(DIGEST_BYTES),
    'opaque:minSvn': undefined,
    'opaque:includeInResult': undefined,
  });
  const count = Number(values['alternatives'] ?? 0);
  const hashes = Object.keys(values).filter((name) => name.startsWith('sha384:'));
  const expected = Array.from({ length: Math.min(count, MAX_ALTERNATIVES) }, (_, place) => hashName(place));
  const found = expected.flatMap((name) => values[name] ?? []);
  if (count === 0 || found.length !== count || hashes.length !== count) {
    const facts = `${hashes.length} for ${values['alternatives'] ?? 'no'} alternatives`;
    throw refuse('rim-resource', path, `a hash for each of 1 to ${MAX_ALTERNATIVES} alternatives`, facts);
  }
  return found.map((hash) => fromHex(hash.toLowerCase(), path));
}

function readMinimum(values: ResourceValues, path: string): number {
  const { alternatives = '1', size = '2', 'opaque:minSvn': minimum = '' } = values;
  expectOf({ ...values, alternatives, size }, path, { alternatives: '1', size: '2' });
  const hash = Object.keys(values).find((name) => name.startsWith('sha384:'));
  if (minimum === '' || Number(minimum) > LAST_SECURITY_VERSION || hash !== undefined) {
    throw refuse(
      'rim-resource',
      path,
      'a minSvn below 65536 and no hash',
      hash ?? `minSvn ${minimum || 'missing'}`,
    );
  }
  return Number(minimum);
}

function expectOf(
  values: ResourceValues,
  path: string,
  expected: Readonly<Record<string, string | undefined>>,
): void {
  for (const [name, value] of Object.entries(expected)) {
    if (values[name] === value) continue;
    throw refuse(
      'rim-resource',
      `${path}@${name}`,
      value ?? 'none at this index',
      excerpt(values[name] ?? 'none'),
    );
  }
}

function refuse(
  code: keyof typeof manifestRefusals.codes,
  field: string,
  expected: string,
  found: string,
): Error {
  return manifestRefusals.error(code, { field, expected, found });
}
