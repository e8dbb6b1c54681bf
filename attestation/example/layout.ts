/**
 * Facts: what the bytes of an example device say. The statement that it signs, 96 bytes, little-endian, and the `example`
 * member of an evidence bundle around it: `{statement, signature, certificate, intermediates}` in base64.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { bitField } from '../core/bit-field.ts';
import { toUtf8 } from '../core/bytes.ts';
import type { JsonValue } from '../core/canonical-json.ts';
import { base64Shape, listShape, objectShape } from '../core/json-shape.ts';
import {
  constantBytes,
  decode,
  encode,
  fixedBytes,
  littleEndian,
  reserved,
  structure,
} from '../core/layout.ts';
import type { ValueOf } from '../core/layout.ts';
import { readCertificate } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';

const { u32 } = littleEndian;

const MAGIC = toUtf8('WGEX');

const statement = structure({
  magic: constantBytes(MAGIC),
  version: u32({ oneOf: [1] }),
  flags: bitField(littleEndian, 4, { debug: 0 }),
  firmwareVersion: u32(),
  measurement: fixedBytes(32),
  /** From `computeDeviceValue`: what ties the statement to one challenge, one agent and one device. */
  deviceValue: fixedBytes(32),
  reserved: reserved(16),
});

export type Statement = Omit<ValueOf<typeof statement>, 'magic'>;

/** @throws RefusalError `layout-*` */
export function readStatement(bytes: Uint8Array, path: string): Statement {
  return decode(statement, bytes, path);
}

/** Writes the bytes that {@link readStatement} reads. @throws RefusalError `layout-value` */
export function writeStatement(value: Statement): Uint8Array {
  return encode(statement, { ...value, magic: MAGIC }, 'statement');
}

/** What the evidence claims. */
export interface ExampleEvidence {
  readonly statement: Statement;
  /** The bytes that the device signed. */
  readonly signed: Uint8Array;
  /** r and s, 32 bytes each. */
  readonly signature: Uint8Array;
  readonly certificate: Certificate;
  /** DER, from the one that issued the device's certificate upwards. */
  readonly intermediates: readonly Uint8Array[];
}

const evidenceShape = objectShape({
  statement: base64Shape({ maxBytes: 96 }),
  signature: base64Shape({ maxBytes: 64 }),
  certificate: base64Shape({ maxBytes: 4096 }),
  intermediates: listShape({ minItems: 0, maxItems: 2 }, base64Shape({ maxBytes: 4096 })),
});

/** @throws RefusalError `shape-*`, `base64-malformed`, `layout-*`, `der-*`, `certificate-*` */
export function readExampleEvidence(value: JsonValue, path: string): ExampleEvidence {
  const { statement, signature, certificate, intermediates } = evidenceShape(value, path);
  return {
    statement: readStatement(statement, `${path}.statement`),
    signed: statement,
    signature,
    certificate: readCertificate(certificate, `${path}.certificate`),
    intermediates,
  };
}

/** The device is named by its key: a renewed certificate makes it no other device. */
export function exampleIdentity({ certificate }: ExampleEvidence): Uint8Array {
  return sha256(certificate.subjectPublicKeyInfo);
}
