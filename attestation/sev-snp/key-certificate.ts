/**
 * VCEK and VLEK certificates (AMD 57230, chapter 3): the facts in AMD's own extensions. The set of extensions is exact,
 * each is read whole, and what two readers could take for different values is refused.
 */

import { toHex } from '../core/bytes.ts';
import { NameAttribute, nameAttributes } from '../core/distinguished-name.ts';
import { readElement, Tag, textOf, unsignedIntegerOf } from '../core/der.ts';
import { defineRefusals } from '../core/refusal.ts';
import { readCertificate } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';
import { PRODUCT_LINES } from './product.ts';
import type { ProductLine } from './product.ts';
import type { Tcb, TcbEncoding } from './tcb.ts';

export const keyCertificateRefusals = defineRefusals('malformed', {
  'snp-certificate-extensions': {
    means: 'A VCEK or VLEK certificate has not exactly the extensions that AMD gives it.',
    hint: 'Send the certificate as AMD’s key server or the provider issued it.',
  },
  'snp-certificate-extension': {
    means: 'An extension of a VCEK or VLEK certificate holds something that AMD does not write.',
    hint: 'Send the certificate as AMD’s key server or the provider issued it.',
  },
  'snp-certificate-subject': {
    means: 'A certificate is not named as a VCEK or VLEK certificate.',
    hint: 'A VCEK has the common name SEV-VCEK, a VLEK SEV-VLEK.',
  },
});

export type KeyKind = 'vcek' | 'vlek';

interface CommonFacts {
  readonly certificate: Certificate;
  readonly line: ProductLine;
  readonly productName: string;
  readonly encoding: TcbEncoding;
  /** What the key was derived from. */
  readonly tcb: Tcb;
}

/** The key of one chip at one TCB. `hardwareId` has 64 bytes, or 8 on Turin. */
export interface VcekFacts extends CommonFacts {
  readonly kind: 'vcek';
  readonly hardwareId: Uint8Array;
}

/** The key of a provider's whole fleet at one TCB. */
export interface VlekFacts extends CommonFacts {
  readonly kind: 'vlek';
  readonly cspId: string;
}

/** What a certificate claims of the key that signs reports. */
export type KeyFacts = VcekFacts | VlekFacts;

const ARC = '1.3.6.1.4.1.3704.1';
const Extension = {
  structVersion: `${ARC}.1`,
  productName: `${ARC}.2`,
  bootLoader: `${ARC}.3.1`,
  tee: `${ARC}.3.2`,
  snp: `${ARC}.3.3`,
  level4: `${ARC}.3.4`,
  level5: `${ARC}.3.5`,
  level6: `${ARC}.3.6`,
  level7: `${ARC}.3.7`,
  microcode: `${ARC}.3.8`,
  fmc: `${ARC}.3.9`,
  hardwareId: `${ARC}.4`,
  cspId: `${ARC}.5`,
} as const;

const { hardwareId, cspId, level4, fmc, ...ALWAYS } = Extension;

/** What struct_version decides. */
const STRUCTURES = [
  { encoding: 'milan', own: level4, hardwareIdBytes: 64 },
  { encoding: 'turin', own: fmc, hardwareIdBytes: 8 },
] as const;

/** Reads a certificate that makes up the whole input. @throws RefusalError `snp-certificate-*`, `certificate-*`, `der-*` */
export function readKeyCertificate(bytes: Uint8Array, path: string): KeyFacts {
  const certificate = readCertificate(bytes, path);
  const kind = readKind(certificate, path);
  const structVersion = levelOf(certificate, Extension.structVersion, path);
  const structure = STRUCTURES[structVersion];
  if (structure === undefined) throw badExtension(path, 'struct_version 0 or 1', String(structVersion));
  checkExtensionSet(certificate, kind, structure.own, path);
  const productName = textOf(
    readElement(valueOf(certificate, Extension.productName, path), Tag.ia5String, `${path}.productName`),
  );
  const common = {
    certificate,
    productName,
    line: lineOf(productName, path),
    encoding: structure.encoding,
    tcb: readLevels(certificate, structure.encoding, path),
  };
  return kind === 'vcek'
    ? { kind, ...common, hardwareId: readHardwareId(certificate, structure.hardwareIdBytes, path) }
    : { kind, ...common, cspId: readCspId(certificate, path) };
}

const SUBJECTS: ReadonlyMap<string | undefined, KeyKind> = new Map([
  ['SEV-VCEK', 'vcek'],
  ['SEV-VLEK', 'vlek'],
]);

function readKind(certificate: Certificate, path: string): KeyKind {
  const commonName = nameAttributes(certificate.subject, `${path}.subject`).get(NameAttribute.commonName);
  const kind = SUBJECTS.get(commonName);
  if (kind !== undefined) return kind;
  throw keyCertificateRefusals.error('snp-certificate-subject', {
    field: `${path}.subject`,
    expected: 'SEV-VCEK or SEV-VLEK',
    found: commonName === undefined ? 'no common name' : 'another name',
  });
}

function checkExtensionSet(certificate: Certificate, kind: KeyKind, own: string, path: string): void {
  const expected = [...Object.values(ALWAYS), own, kind === 'vcek' ? hardwareId : cspId].sort();
  const found = [...certificate.extensions.keys()].sort();
  if (expected.join() === found.join()) return;
  throw keyCertificateRefusals.error('snp-certificate-extensions', {
    field: `${path}.extensions`,
    expected: expected.join(', '),
    found: found.join(', '),
  });
}

function valueOf(certificate: Certificate, identifier: string, path: string): Uint8Array {
  const extension = certificate.extensions.get(identifier);
  if (extension !== undefined) return extension.value;
  throw keyCertificateRefusals.error('snp-certificate-extensions', {
    field: `${path}.extensions`,
    expected: identifier,
    found: 'none',
  });
}

function badExtension(field: string, expected: string, found: string): Error {
  return keyCertificateRefusals.error('snp-certificate-extension', { field, expected, found });
}

/** A security patch level: an INTEGER of 0 to 255. */
function levelOf(certificate: Certificate, identifier: string, path: string): number {
  const field = `${path}.${identifier}`;
  const value = readElement(valueOf(certificate, identifier, path), Tag.integer, field);
  const [level = 0, ...more] = unsignedIntegerOf(value);
  if (more.length > 0) throw badExtension(field, 'a level of 0 to 255', toHex(value.content));
  return level;
}

function readLevels(certificate: Certificate, encoding: TcbEncoding, path: string): Tcb {
  const level = (identifier: string): number => levelOf(certificate, identifier, path);
  const reserved = encoding === 'milan' ? [level4] : [];
  for (const identifier of [...reserved, Extension.level5, Extension.level6, Extension.level7]) {
    if (level(identifier) !== 0) throw badExtension(`${path}.${identifier}`, '0', String(level(identifier)));
  }
  return {
    fmc: encoding === 'turin' ? level(fmc) : undefined,
    bootLoader: level(Extension.bootLoader),
    tee: level(Extension.tee),
    snp: level(Extension.snp),
    microcode: level(Extension.microcode),
  };
}

/** `Milan-B0` on every Milan VCEK, whatever the stepping; otherwise the name of the line. */
const PRODUCT_NAME = new RegExp(`^(${PRODUCT_LINES.join('|')})(?:-[A-Z][0-9])?$`);

function lineOf(productName: string, path: string): ProductLine {
  const name = PRODUCT_NAME.exec(productName)?.[1];
  const line = PRODUCT_LINES.find((known) => known === name);
  if (line !== undefined) return line;
  throw badExtension(
    `${path}.productName`,
    PRODUCT_LINES.join(', '),
    toHex(new TextEncoder().encode(productName)),
  );
}

/** The bytes stand in the extension as they are, without a tag. */
function readHardwareId(certificate: Certificate, bytes: number, path: string): Uint8Array {
  const value = valueOf(certificate, hardwareId, path);
  if (value.length === bytes && value.some((byte) => byte !== 0)) return value;
  throw badExtension(`${path}.hwid`, `${bytes} bytes that are not all zero`, `${value.length} bytes`);
}

const CSP_ID = /^[\x20-\x7e]{1,200}$/;

function readCspId(certificate: Certificate, path: string): string {
  const text = textOf(readElement(valueOf(certificate, cspId, path), Tag.ia5String, `${path}.cspId`));
  if (CSP_ID.test(text)) return text;
  throw badExtension(`${path}.cspId`, 'up to 200 printable characters', `${text.length} characters`);
}
