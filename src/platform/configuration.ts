/**
 * Configuration files of the operator: YAML 1.2 of the subset in which every text has one meaning, checked against a
 * declared shape. An unknown member is a mistake of whoever wrote it and is refused, never ignored (W11).
 */

import { isAlias, isNode, parseDocument, stringify, visit, type Document } from 'yaml';
import type { z } from 'zod';

import { excerpt, fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readFileBounded } from './files.ts';
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
  const document = parseDocument(text, {
    version: '1.2',
    schema: 'core',
    merge: false,
    strict: true,
    uniqueKeys: true,
    stringKeys: true,
    logLevel: 'error',
  });
  const [problem] = [...document.errors, ...document.warnings];
  if (problem !== undefined) refuse(path, 'plain YAML', problem.message);
  refuseSecondSpellings(path, document);
  return readShape(schema, document.toJS({ maxAliasCount: 0 }), path);
}

/** The bytes of a new configuration file. @param comment stands at its head; for the operator */
export function formatConfiguration(comment: string, document: object): Uint8Array {
  const head = comment
    .split('\n')
    .map((line) => `# ${line}\n`)
    .join('');
  return toUtf8(`${head}${stringify(document)}`);
}

function refuseSecondSpellings(path: string, document: Document): void {
  visit(document, (_key, node) => {
    if (isAlias(node)) refuse(path, 'no aliases', node.source);
    if (!isNode(node)) return;
    if (node.anchor !== undefined) refuse(path, 'no anchors', node.anchor);
    if (node.tag !== undefined) refuse(path, 'no tags', node.tag);
  });
}

function refuse(field: string, expected: string, found: string): never {
  throw configurationRefusals.error('configuration-yaml', { field, expected, found: excerpt(found) });
}
