/**
 * PCR 7: the variables of Secure Boot, the boundary, and what each image was allowed by (TCG "PC Client Platform Firmware
 * Profile", section 3.3.4.8). The reading side of the same rules is event-log/secure-boot.ts.
 */

import { concatBytes, equalBytes, toHex } from '../../core/bytes.ts';
import { decode, littleEndian, remainingBytes, structure } from '../../core/layout.ts';
import { defineRefusals } from '../../core/refusal.ts';
import { guidBytes, readSignatureLists, writeUefiVariable } from '../event-log/uefi-variable.ts';
import type { UefiVariable } from '../event-log/uefi-variable.ts';
import type { TpmHash } from '../hash.ts';
import { measure } from './events.ts';
import type { ExpectedEvent } from './events.ts';
import { expectSeparator } from './firmware.ts';

export const secureBootVariableRefusals = defineRefusals('malformed', {
  'secure-boot-variable': {
    means: 'The variables of Secure Boot that were given are not those that firmware measures.',
    hint: 'Give SecureBoot, PK, KEK, db and dbx once each, as efivarfs has them or as their bare content.',
  },
  'secure-boot-authority': {
    means: 'An image is said to be allowed by a certificate or hash that db does not have.',
    hint: 'Give the very certificate of db that the signature leads to, or the hash of the image in db.',
  },
});

const PCR = 7;
export const GLOBAL_VENDOR = '8be4df61-93ca-11d2-aa0d-00e098032b8c';
export const IMAGE_SECURITY_VENDOR = 'd719b2cb-3d3a-4596-a3bc-dad00e67656f';
/** Of the variables that shim keeps. */
export const SHIM_VENDOR = '605dab50-e046-4300-abb6-3dd810dd8b23';

/** Name and vendor of each variable, in the order in which they are measured. */
export const SECURE_BOOT_VARIABLES = [
  { name: 'SecureBoot', vendor: GLOBAL_VENDOR },
  { name: 'PK', vendor: GLOBAL_VENDOR },
  { name: 'KEK', vendor: GLOBAL_VENDOR },
  { name: 'db', vendor: IMAGE_SECURITY_VENDOR },
  { name: 'dbx', vendor: IMAGE_SECURITY_VENDOR },
] as const;

/** Content by name; one that is not set is empty, and has to be given as that. */
export type SecureBootVariables = Readonly<
  Record<(typeof SECURE_BOOT_VARIABLES)[number]['name'], Uint8Array>
>;

/** @param authorities in the order in which they were used; each is measured once */
export function expectSecureBoot(
  variables: SecureBootVariables,
  authorities: readonly UefiVariable[],
  bank: TpmHash,
): readonly ExpectedEvent[] {
  demandState(variables.SecureBoot);
  const configured = SECURE_BOOT_VARIABLES.map(({ name, vendor }) => {
    const data = variables[name];
    if (name !== 'SecureBoot') readSignatureLists(data, name);
    return measure(PCR, `variable ${name}`, writeUefiVariable({ vendor, name, data }), bank);
  });
  const used = authorities.map((authority) =>
    measure(PCR, `authority ${authority.name}`, writeUefiVariable(authority), bank),
  );
  return [...configured, expectSeparator(PCR, bank), ...used];
}

function demandState(state: Uint8Array): void {
  if (state.length === 0 || (state.length === 1 && (state[0] ?? 2) <= 1)) return;
  throw secureBootVariableRefusals.error('secure-boot-variable', {
    field: 'SecureBoot',
    expected: '00, 01 or nothing',
    found: toHex(state.subarray(0, 16)),
  });
}

/**
 * The authority that firmware measures for an image that db allows: the entry of db with its owner.
 *
 * @param allowing a certificate in DER or a hash
 * @throws RefusalError `secure-boot-authority`, `event-log-variable`, `layout-*`
 */
export function databaseAuthority(db: Uint8Array, allowing: Uint8Array): UefiVariable {
  const entry = readSignatureLists(db, 'db').find(({ data }) => equalBytes(data, allowing));
  if (entry !== undefined) {
    const data = concatBytes(guidBytes(entry.owner), entry.data);
    return { vendor: IMAGE_SECURITY_VENDOR, name: 'db', data };
  }
  throw secureBootVariableRefusals.error('secure-boot-authority', {
    field: 'db',
    expected: 'an entry with these bytes',
    found: `none with the ${allowing.length} bytes ${toHex(allowing.subarray(0, 16))}…`,
  });
}

/** What shim measures of its own: the level of revocation, its certificate, and whether its list is trusted. */
export const SHIM_AUTHORITIES = ['SbatLevel', 'MokListTrusted', 'Shim'] as const;

export function shimAuthority(name: (typeof SHIM_AUTHORITIES)[number], data: Uint8Array): UefiVariable {
  return { vendor: SHIM_VENDOR, name, data };
}

/** Bits of the attributes that UEFI gives a meaning (UEFI Specification, section 8.2). */
const ATTRIBUTE_BITS = 0xff;
const efivarfsFile = structure({
  attributes: littleEndian.u32({ knownBits: ATTRIBUTE_BITS }),
  content: remainingBytes(),
});

/**
 * The content of a variable as efivarfs keeps it, behind four bytes of attributes.
 *
 * @throws RefusalError `layout-*`
 */
export function efivarfsContent(file: Uint8Array, name: string): Uint8Array {
  return decode(efivarfsFile, file, name).content;
}
