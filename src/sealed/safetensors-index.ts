/**
 * Indexes of sharded safetensors (`model.safetensors.index.json`): which tensor lies in which file. What an index says
 * is held against the headers of the shards, so that no reader can be led to another tensor than the next (SW-52).
 */

import { z } from 'zod';

import { excerpt, fromUtf8 } from '../../attestation/core/bytes.ts';
import { parseForeignJson } from '../../attestation/core/foreign-json.ts';
import { readShape } from '../platform/shape.ts';
import { refuseWeights, type TensorEntry } from './tensors.ts';

/** SW-52. */
export const MAX_INDEX_BYTES = 64 * 1024 * 1024;
/** The map of tensors needs two; what writers put into `metadata` is theirs. */
const MAX_DEPTH = 8;
const SUFFIX = '.safetensors.index.json';

const indexSchema = z.strictObject({
  metadata: z.record(z.string(), z.unknown()).optional(),
  weight_map: z.record(z.string(), z.string()),
});

export function isShardIndex(path: string): boolean {
  return path.toLowerCase().endsWith(SUFFIX);
}

/**
 * Checks an index against the shards that it names.
 *
 * @param path of the index in the bundle
 * @param shards tensors of each weight file of the bundle, by its path
 * @throws RefusalError `weights-index-*`, `shape-mismatch`, `utf8-malformed`
 */
export function checkShardIndex(
  path: string,
  content: Uint8Array,
  shards: ReadonlyMap<string, readonly TensorEntry[]>,
): void {
  const claimed = readWeightMap(path, content);
  const folder = path.slice(0, path.lastIndexOf('/') + 1);
  for (const file of new Set(claimed.values())) {
    const tensors = file.includes('/') ? undefined : shards.get(folder + file);
    if (tensors === undefined) return refuseIndex(path, 'weight files beside it', file);
    for (const { name } of tensors) {
      if (claimed.get(name) !== file) refuseIndex(path, `${name} in ${file}`, claimed.get(name) ?? 'nothing');
      claimed.delete(name);
    }
  }
  for (const [name, file] of claimed) refuseIndex(path, `tensors of ${file}`, name);
}

function readWeightMap(path: string, content: Uint8Array): Map<string, string> {
  const parsed = parseForeignJson(fromUtf8(content, path), MAX_DEPTH);
  if (parsed.problem !== undefined) {
    return refuseWeights('weights-index-malformed', path, 'JSON with each member once', parsed.problem);
  }
  return new Map(Object.entries(readShape(indexSchema, parsed.value, path).weight_map));
}

function refuseIndex(path: string, expected: string, found: string): never {
  return refuseWeights('weights-index-disagrees', path, excerpt(expected), excerpt(found));
}
