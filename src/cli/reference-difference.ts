/** How two reference documents differ: member by member, and lists of plain values as the sets that they are. */

import type { JsonValue } from '../../attestation/core/canonical-json.ts';

export interface Difference {
  /** Path of the member, for example `pcrs.7`. */
  readonly path: string;
  readonly change: 'added' | 'removed' | 'changed';
  readonly old: JsonValue | null;
  readonly new: JsonValue | null;
}

/** Differences in the order of the paths. */
export function differences(old: JsonValue, next: JsonValue, path = ''): readonly Difference[] {
  if (isObject(old) && isObject(next)) return ofObjects(old, next, path);
  if (Array.isArray(old) && Array.isArray(next))
    return ofLists(old as JsonValue[], next as JsonValue[], path);
  return JSON.stringify(old) === JSON.stringify(next) ? [] : [{ path, change: 'changed', old, new: next }];
}

type JsonObject = Readonly<Record<string, JsonValue>>;

function isObject(value: JsonValue): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function ofObjects(old: JsonObject, next: JsonObject, path: string): readonly Difference[] {
  const names = [...new Set([...Object.keys(old), ...Object.keys(next)])].sort();
  return names.flatMap((name) => ofMember(old[name], next[name], path === '' ? name : `${path}.${name}`));
}

function ofMember(
  old: JsonValue | undefined,
  next: JsonValue | undefined,
  path: string,
): readonly Difference[] {
  if (next === undefined) return old === undefined ? [] : [{ path, change: 'removed', old, new: null }];
  if (old === undefined) return [{ path, change: 'added', old: null, new: next }];
  return differences(old, next, path);
}

/** In reference documents a list of plain values holds alternatives, in no order; a list of objects has places. */
function ofLists(old: readonly JsonValue[], next: readonly JsonValue[], path: string): readonly Difference[] {
  if ([...old, ...next].some((item) => typeof item === 'object' && item !== null)) {
    const length = Math.max(old.length, next.length);
    return Array.from({ length }, (_, i) => ofMember(old[i], next[i], `${path}[${i}]`)).flat();
  }
  const removed = old.filter((item) => !next.includes(item));
  const added = next.filter((item) => !old.includes(item));
  return [
    ...removed.map((item) => ({ path, change: 'removed', old: item, new: null }) as const),
    ...added.map((item) => ({ path, change: 'added', old: null, new: item }) as const),
  ];
}
