/** Reference documents of all device classes, by the class that each names. */

import { z } from 'zod';

import { excerpt } from '../../attestation/core/bytes.ts';
import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { shapeRefusals } from '../../attestation/core/json-shape.ts';
import { readConfiguration } from '../platform/configuration.ts';
import { VERIFIED_CLASSES } from '../server/device-classes.ts';

/** What persons wrote or a tool indented is as good: the statement carries the one canonical form of it. */
const documentSchema = z.custom<JsonValue>((value) => typeof value === 'object' && value !== null, {
  message: 'not a document',
});

/** Reads a reference document: JSON in any layout. @throws RefusalError `file-*`, `configuration-yaml`, `shape-mismatch` */
export async function readReferenceDocument(path: string): Promise<JsonValue> {
  return await readConfiguration(path, documentSchema);
}

/**
 * Checks a document with the reader of its class. Whatever is in force is what every machine is compared with: a
 * document that cannot be read stops them all.
 *
 * @returns the device class
 * @throws RefusalError `shape-*` and what the class refuses
 */
export function checkReferenceDocument(values: JsonValue): string {
  const named =
    typeof values === 'object' && values !== null && 'class' in values ? values['class'] : undefined;
  const deviceClass = typeof named === 'string' ? named : '';
  const verified = VERIFIED_CLASSES.get(deviceClass);
  if (verified === undefined) {
    throw shapeRefusals.error('shape-member', {
      field: 'referenceValues.class',
      expected: `one of ${[...VERIFIED_CLASSES.keys()].join(', ')}`,
      found: deviceClass === '' ? 'none' : excerpt(deviceClass),
    });
  }
  verified.checkReferenceValues(values);
  return deviceClass;
}
