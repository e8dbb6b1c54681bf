/**
 * What PCR 7 says of UEFI Secure Boot (TCG "PC Client Platform Firmware Profile", section 3.3.4.8). Facts: whether this
 * machine may have the key is for a policy to say. They hold for a log whose replay of PCR 7 is what a TPM quoted.
 */

import { toHex } from '../../core/bytes.ts';
import { defineRefusals } from '../../core/refusal.ts';
import type { TpmHash } from '../hash.ts';
import { coverageOf } from './coverage.ts';
import { EventType, eventTypeName } from './event-types.ts';
import type { EventLog, LoggedEvent } from './read.ts';
import { isBoundary } from './separators.ts';
import { readSignatureLists, readUefiVariable } from './uefi-variable.ts';
import type { UefiSignature, UefiVariable } from './uefi-variable.ts';

export const secureBootRefusals = defineRefusals('inauthentic', {
  'event-log-secure-boot-record': {
    means: 'PCR 7 has a record that does not belong there, or whose digest does not cover what it says.',
    hint: 'The log was altered, or firmware or a boot loader measured something unusual; inspect the log.',
  },
  'event-log-secure-boot-order': {
    means: 'The records of Secure Boot are not those, or not in the order, that the TCG profile demands.',
    hint: 'SecureBoot, PK, KEK, db and dbx come once each and in this order, before the one separator.',
  },
});

const PCR = 7;
const GLOBAL = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
const IMAGE_SECURITY = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';

/** In the order in which the profile demands them. */
const VARIABLES = [
  { name: 'SecureBoot', vendor: GLOBAL },
  { name: 'PK', vendor: GLOBAL },
  { name: 'KEK', vendor: GLOBAL },
  { name: 'db', vendor: IMAGE_SECURITY },
  { name: 'dbx', vendor: IMAGE_SECURITY },
] as const;

/** A signature, a hash or other data by which an image was allowed to run. */
export interface BootAuthority {
  /** Position in the log. */
  readonly index: number;
  readonly digest: Uint8Array;
  /** Undefined where the digest does not cover what the record says, as with some of shim's. */
  readonly variable: UefiVariable | undefined;
}

export interface SecureBootFacts {
  /** `undefined`: the variable is empty, as on machines without keys. Only `enabled` means that images were checked. */
  readonly state: 'enabled' | 'disabled' | 'undefined';
  readonly platformKey: readonly UefiSignature[];
  readonly keyExchangeKeys: readonly UefiSignature[];
  readonly allowed: readonly UefiSignature[];
  readonly forbidden: readonly UefiSignature[];
  /** Further variables before the separator, such as `dbt`, `AuditMode` or a vendor's own. */
  readonly others: readonly UefiVariable[];
  /** Of drivers that the firmware ran before it looked for a system to start. */
  readonly driverAuthorities: readonly BootAuthority[];
  /** Of what was started afterwards. */
  readonly authorities: readonly BootAuthority[];
}

interface Record {
  readonly event: LoggedEvent;
  readonly index: number;
}

/**
 * @param bank the bank whose replay was compared with a quote
 * @throws RefusalError `event-log-secure-boot-*`, `event-log-variable`, `layout-*`
 */
export function readSecureBoot({ events }: EventLog, bank: TpmHash): SecureBootFacts {
  const records = events.flatMap((event, index) =>
    event.pcr === PCR && event.type !== EventType.noAction ? [{ event, index }] : [],
  );
  const boundary = demandOneBoundary(records, bank);
  const [before, after] = [records.slice(0, boundary), records.slice(boundary + 1)];
  const configuration = before.filter(({ event }) => event.type === EventType.efiVariableDriverConfig);
  const drivers = before.filter(({ event }) => event.type !== EventType.efiVariableDriverConfig);
  const { known, others } = sortVariables(configuration.map((record) => coveredVariable(record, bank)));
  const [secureBoot, platformKey, keyExchangeKeys, allowed, forbidden] = known;
  return {
    state: stateOf(secureBoot),
    platformKey: readSignatureLists(platformKey.data, 'PK'),
    keyExchangeKeys: readSignatureLists(keyExchangeKeys.data, 'KEK'),
    allowed: readSignatureLists(allowed.data, 'db'),
    forbidden: readSignatureLists(forbidden.data, 'dbx'),
    others,
    driverAuthorities: drivers.map((record) => authority(record, bank)),
    authorities: after.map((record) => authority(record, bank)),
  };
}

function demandOneBoundary(records: readonly Record[], bank: TpmHash): number {
  const separators = records.filter(({ event }) => event.type === EventType.separator);
  const [only] = separators;
  if (only !== undefined && separators.length === 1 && isBoundary(only.event, bank)) {
    return records.indexOf(only);
  }
  throw secureBootRefusals.error('event-log-secure-boot-order', {
    field: 'eventLog PCR 7',
    expected: 'one separator of zeros',
    found: separators.map(({ event }) => toHex(event.data.subarray(0, 8))).join(', ') || 'none',
  });
}

function coveredVariable({ event, index }: Record, bank: TpmHash): UefiVariable {
  if (coverageOf(event, bank).covers === 'event') return readUefiVariable(event.data, `eventLog[${index}]`);
  throw secureBootRefusals.error('event-log-secure-boot-record', {
    field: `eventLog[${index}]`,
    expected: 'a variable that its digest covers',
    found: 'another digest',
  });
}

type KnownVariables = readonly [UefiVariable, UefiVariable, UefiVariable, UefiVariable, UefiVariable];

function sortVariables(variables: readonly UefiVariable[]): {
  readonly known: KnownVariables;
  readonly others: readonly UefiVariable[];
} {
  const known = variables.slice(0, VARIABLES.length);
  const others = variables.slice(VARIABLES.length);
  const isOneOf = (variable: UefiVariable): boolean =>
    VARIABLES.some(({ name, vendor }) => variable.name === name && variable.vendor === vendor);
  const isInOrder = VARIABLES.every(
    ({ name, vendor }, i) => known[i]?.name === name && known[i].vendor === vendor,
  );
  if (isInOrder && !others.some(isOneOf)) return { known: known as unknown as KnownVariables, others };
  throw secureBootRefusals.error('event-log-secure-boot-order', {
    field: 'eventLog PCR 7',
    expected: VARIABLES.map(({ name }) => name).join(', '),
    found: variables.map(({ name }) => name).join(', ') || 'none',
  });
}

function stateOf({ data }: UefiVariable): SecureBootFacts['state'] {
  if (data.length === 1 && data[0] === 1) return 'enabled';
  if (data.length === 1 && data[0] === 0) return 'disabled';
  if (data.length === 0) return 'undefined';
  throw secureBootRefusals.error('event-log-secure-boot-record', {
    field: 'eventLog SecureBoot',
    expected: '00, 01 or nothing',
    found: toHex(data.subarray(0, 64)),
  });
}

/** What else may stand in PCR 7: anything unknown could be a record that was given another type afterwards. */
function authority({ event, index }: Record, bank: TpmHash): BootAuthority {
  const digest = event.digests.get(bank.algorithm);
  if (event.type !== EventType.efiVariableAuthority || digest === undefined) {
    throw secureBootRefusals.error('event-log-secure-boot-record', {
      field: `eventLog[${index}].type`,
      expected: 'EV_EFI_VARIABLE_AUTHORITY',
      found: eventTypeName(event.type) ?? `0x${event.type.toString(16)}`,
    });
  }
  const isCovered = coverageOf(event, bank).covers === 'event';
  const variable = isCovered ? readUefiVariable(event.data, `eventLog[${index}]`) : undefined;
  return { index, digest, variable };
}
