/**
 * The runtime claims of an HCL report: the paravisor's JSON document about the machine and the keys of its virtual TPM
 * (docs/spec/azure-vtpm.md, section 2). It is not ours, so it is not canonical JSON; it has one byte form all the same,
 * the compact one in which the paravisor writes it, and everything else is refused.
 *
 * To be read only after its digest was found in an authentic report: see verify.ts.
 */

import { equalBytes, fromBase64, fromHex, fromUtf8, toUtf8 } from '../../core/bytes.ts';
import type { JsonValue } from '../../core/canonical-json.ts';
import {
  booleanShape,
  integerShape,
  listShape,
  literalShape,
  objectShape,
  textShape,
} from '../../core/json-shape.ts';
import type { Shape, ShapeValue } from '../../core/json-shape.ts';
import { defineRefusals } from '../../core/refusal.ts';

export const runtimeClaimsRefusals = defineRefusals('malformed', {
  'azure-claims-json': {
    means: 'The runtime claims are not JSON in the form in which the paravisor writes it.',
    hint: 'The claims must be compact JSON with each member once; read the HCL report again.',
  },
  'azure-claims-keys': {
    means: 'The runtime claims do not name the attestation key of the virtual TPM exactly once.',
    hint: 'Read the HCL report of this machine again; a report with two keys of one name is never accepted.',
  },
});

export const ATTESTATION_KEY_ID = 'HCLAkPub';
const ENDORSEMENT_KEY_ID = 'HCLEkPub';

const base64UrlShape = textShape({ pattern: /^[A-Za-z0-9_-]{342}$/ });

/** An RSA modulus of 2048 bits in base64url without padding (RFC 7518, section 6.3.1). */
const modulusShape: Shape<Uint8Array> = (value, path) => {
  const digits = base64UrlShape(value, path).replaceAll('-', '+').replaceAll('_', '/');
  return fromBase64(`${digits}==`, path);
};

const keyShape = objectShape({
  kid: literalShape(ATTESTATION_KEY_ID, ENDORSEMENT_KEY_ID),
  key_ops: listShape({ minItems: 1, maxItems: 1 }, literalShape('sign', 'encrypt')),
  kty: literalShape('RSA'),
  // 65537: the layout of a TPM key allows others, the paravisor makes none.
  e: literalShape('AQAB'),
  n: modulusShape,
});

const flag = booleanShape;
const configurationMembers = {
  'console-enabled': flag,
  'secure-boot': flag,
  'tpm-enabled': flag,
  vmUniqueId: textShape({ pattern: /^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$/ }),
} as const;

/** Members that came with later paravisors, or that not every machine has. */
const laterConfigurationMembers = {
  'current-time': integerShape({ min: 0, max: 2 ** 40 }),
  'root-cert-thumbprint': textShape({ pattern: /^(?:[A-Za-z0-9_-]{43})?$/ }),
  'interactive-console-enabled': flag,
  'tpm-persisted': flag,
  'filtered-vpci-devices-allowed': flag,
} as const;

type Table = Readonly<Record<string, Shape<unknown>>>;
type Members<T extends Table> = { readonly [K in keyof T]: ShapeValue<T[K]> };

/** An object that must have the members of one table and may have those of another, and no others. */
function partialShape<const R extends Table, const O extends Table>(
  required: R,
  optional: O,
): Shape<Members<R> & Partial<Members<O>>> {
  return (value, path) => {
    const names = typeof value === 'object' && value !== null ? Object.keys(value) : [];
    const present = Object.entries(optional).filter(([name]) => names.includes(name));
    const table: Table = { ...required, ...Object.fromEntries(present) };
    return objectShape(table)(value, path) as Members<R> & Partial<Members<O>>;
  };
}

const documentShape = partialShape(
  {
    keys: listShape({ minItems: 1, maxItems: 2 }, keyShape),
    'vm-configuration': partialShape(configurationMembers, laterConfigurationMembers),
  },
  { 'user-data': textShape({ pattern: /^(?:[0-9A-Fa-f]{2}){0,64}$/ }) },
);

export type RuntimeKey = ShapeValue<typeof keyShape>;

/** How the machine is set up, by the word of the paravisor. A later member is undefined where it was not said. */
export interface VmConfiguration {
  readonly consoleEnabled: boolean;
  readonly interactiveConsoleEnabled: boolean | undefined;
  readonly secureBoot: boolean;
  readonly tpmEnabled: boolean;
  readonly tpmPersisted: boolean | undefined;
  readonly filteredDevicesAllowed: boolean | undefined;
  readonly vmUniqueId: string;
}

export interface RuntimeClaims {
  readonly attestationKey: RuntimeKey;
  readonly configuration: VmConfiguration;
  /** What the guest wrote into NV index 0x01400002 before the report was made; empty where there is none. */
  readonly userData: Uint8Array;
}

/** @throws RefusalError `azure-claims-*`, `shape-*`, `utf8-malformed`, `base64-malformed` */
export function readRuntimeClaims(bytes: Uint8Array): RuntimeClaims {
  const value = parseJson(fromUtf8(bytes, 'claims'));
  const document = documentShape(value, 'claims');
  // After the shape, which bounds the depth: writing the same value again shows what JSON.parse passes over.
  if (!equalBytes(toUtf8(JSON.stringify(value)), bytes)) throw badJson('another spelling, or a member twice');
  return {
    attestationKey: onlyKey(document.keys),
    configuration: readConfiguration(document['vm-configuration']),
    userData: fromHex((document['user-data'] ?? '').toLowerCase(), 'claims.user-data'),
  };
}

function parseJson(text: string): JsonValue {
  try {
    return JSON.parse(text) as JsonValue;
  } catch (cause) {
    throw badJson('text that does not parse', cause);
  }
}

function badJson(found: string, cause?: unknown): Error {
  const facts = { field: 'claims', expected: 'compact JSON, each member once', found };
  return runtimeClaimsRefusals.error('azure-claims-json', facts, { cause });
}

function onlyKey(keys: readonly RuntimeKey[]): RuntimeKey {
  const key = keys.find(({ kid }) => kid === ATTESTATION_KEY_ID);
  const areDistinct = new Set(keys.map(({ kid }) => kid)).size === keys.length;
  if (key !== undefined && areDistinct) return key;
  throw runtimeClaimsRefusals.error('azure-claims-keys', {
    field: 'claims.keys',
    expected: `one ${ATTESTATION_KEY_ID}, at most one ${ENDORSEMENT_KEY_ID}`,
    found: keys.map(({ kid }) => kid).join(', '),
  });
}

function readConfiguration(
  claimed: Members<typeof configurationMembers> & Partial<Members<typeof laterConfigurationMembers>>,
): VmConfiguration {
  return {
    consoleEnabled: claimed['console-enabled'],
    interactiveConsoleEnabled: claimed['interactive-console-enabled'],
    secureBoot: claimed['secure-boot'],
    tpmEnabled: claimed['tpm-enabled'],
    tpmPersisted: claimed['tpm-persisted'],
    filteredDevicesAllowed: claimed['filtered-vpci-devices-allowed'],
    vmUniqueId: claimed.vmUniqueId,
  };
}
