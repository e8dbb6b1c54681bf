/**
 * Configuration files of the operator: plain YAML (plain-yaml.ts), checked against a declared shape. An unknown member is a mistake of whoever wrote it and is refused, never ignored (W11).
 */

import { stringify } from 'yaml';
import type { z } from 'zod';

import { fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readFileBounded } from './files.ts';
import { parsePlainYaml } from './plain-yaml.ts';
import { readShape } from './shape.ts';

export const configurationRefusals = defineRefusals('malformed', {
  'configuration-yaml': {
    means: 'A configuration file is not plain YAML.',
    hint: 'Write one document without anchors, aliases, tags or repeated members.',
  },
});

const MAX_CONFIGURATION_BYTES = 256 * 1024;

/**
 * Reads a configuration file.
 *
 * @throws RefusalError `file-*`, `utf8-malformed`, `configuration-yaml`, `shape-mismatch`
 */
export async function readConfiguration<T>(path: string, schema: z.ZodType<T>): Promise<T> {
  const text = fromUtf8(await readFileBounded(path, MAX_CONFIGURATION_BYTES), path);
  const document = parsePlainYaml(text, (expected, found) => {
    throw configurationRefusals.error('configuration-yaml', { field: path, expected, found });
  });
  return readShape(schema, document, path);
}

/** The bytes of a new configuration file. @param comment stands at its head; for the operator */
export function formatConfiguration(comment: string, document: object): Uint8Array {
  const head = comment
    .split('\n')
    .map((line) => `# ${line}\n`)
    .join('');
  return toUtf8(`${head}${stringify(document)}`);
}
