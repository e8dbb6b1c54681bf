/** The `example` member of an evidence bundle: `{statement, signature, certificate, intermediates}` in base64. */

import { sha256 } from '@noble/hashes/sha2.js';

import type { JsonValue } from '../core/canonical-json.ts';
import { base64Shape, listShape, objectShape } from '../core/json-shape.ts';
import { readCertificate } from '../core/x509.ts';
import type { Certificate } from '../core/x509.ts';
import { readStatement } from './layout.ts';
import type { Statement } from './layout.ts';

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
