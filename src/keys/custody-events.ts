/**
 * What became of the wrapping keys of a home: compared with what was known before, and kept until the server has logged
 * it (docs/spec/key-custody.md section 11). Events follow from what a custody holds, never from what somebody meant to
 * do: a rotation that was interrupted, or made at the custody itself, is seen all the same.
 */

import { z } from 'zod';

import { decodeCanonicalJson, encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { fromUtf8, toUtf8 } from '../../attestation/core/bytes.ts';
import { readShape } from '../platform/shape.ts';
import { CUSTODY_PROVIDERS } from '../governance/entries.ts';
import type { CustodyProviderName, WrappingKeys } from './custody.ts';
import type { ModelKeyDatabase } from './model-key-database.ts';

const MAX_EVENT_BYTES = 64 * 1024;

const eventSchema = z.strictObject({
  event: z.enum(['opened', 'rotated', 'retired', 'ended']),
  /** Of the custody in its home. */
  custody: z.int().min(1),
  provider: z.enum(CUSTODY_PROVIDERS),
  /** `opened` and `rotated`: the current one. `retired`: those that are gone. `ended`: none. */
  wrappingKeys: z.array(z.string().regex(/^[A-Za-z0-9-]{1,64}$/)).max(512),
});
export type CustodyEvent = z.infer<typeof eventSchema>;

/** A custody as it is now. */
export interface ObservedCustody {
  readonly number: number;
  readonly provider: CustodyProviderName;
  readonly keys: WrappingKeys;
}

/** @throws RefusalError `shape-mismatch`, `json-*`, `key-store-failed` */
export function readCustodyEvents(database: ModelKeyDatabase): readonly CustodyEvent[] {
  return database.events().map((text, index) => {
    const name = `custodyEvents[${index}]`;
    return readShape(
      eventSchema,
      decodeCanonicalJson(toUtf8(text), { maxBytes: MAX_EVENT_BYTES }, name),
      name,
    );
  });
}

/** Writes down what is new about a custody. @throws RefusalError as `readCustodyEvents` */
export function observeCustody(database: ModelKeyDatabase, observed: ObservedCustody): void {
  database.transaction(() => {
    const before = readCustodyEvents(database);
    append(database, before.length, newEvents(before, observed));
  });
}

/** Writes down that a custody wraps and unwraps nothing any more. Call it within a transaction. */
export function endCustodyEvents(
  database: ModelKeyDatabase,
  custody: number,
  provider: CustodyProviderName,
): void {
  const before = readCustodyEvents(database);
  if (before.some(({ event, custody: of }) => event === 'ended' && of === custody)) return;
  append(database, before.length, [{ event: 'ended', custody, provider, wrappingKeys: [] }]);
}

function append(database: ModelKeyDatabase, sequence: number, events: readonly CustodyEvent[]): void {
  events.forEach((event, index) => {
    database.addEvent(sequence + index, fromUtf8(encodeCanonicalJson(event), 'custodyEvent'));
  });
}

function newEvents(
  before: readonly CustodyEvent[],
  { number: custody, provider, keys }: ObservedCustody,
): readonly CustodyEvent[] {
  const own = before.filter((event) => event.custody === custody);
  const retired = new Set(
    own.filter(({ event }) => event === 'retired').flatMap((event) => event.wrappingKeys),
  );
  const made = own.filter(({ event }) => event === 'opened' || event === 'rotated');
  const known = made.flatMap(({ wrappingKeys }) => wrappingKeys);
  const held = new Set([keys.current, ...keys.older]);
  const gone = [...new Set(known)].filter((id) => !held.has(id) && !retired.has(id));
  const events: CustodyEvent[] = [];
  if (known.at(-1) !== keys.current) {
    const event = known.length === 0 ? 'opened' : 'rotated';
    events.push({ event, custody, provider, wrappingKeys: [keys.current] });
  }
  if (gone.length > 0) events.push({ event: 'retired', custody, provider, wrappingKeys: gone });
  return events;
}
