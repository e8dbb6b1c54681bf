/** What every custody refuses alike, whatever holds its wrapping keys. */

import type { RefusalError } from '../../attestation/core/refusal.ts';
import type { ModelKeyContext } from './custody.ts';
import { keyIntegrityRefusals, keyUsageRefusals } from './refusals.ts';

const MODEL_KEY_BYTES = 32;

/** @throws RefusalError `key-length-wrong` */
export function requireModelKey(key: Uint8Array): void {
  if (key.length === MODEL_KEY_BYTES) return;
  throw keyUsageRefusals.error('key-length-wrong', {
    field: 'key',
    expected: `${MODEL_KEY_BYTES} bytes`,
    found: `${key.length} bytes`,
  });
}

/** A wrapped key that does not open: another context, other bytes, or another wrapping key of the same name. */
export function wrappedDamaged({ manifestDigest }: ModelKeyContext, cause?: unknown): RefusalError {
  const facts = {
    field: `modelKeys.${manifestDigest}`,
    expected: 'a key wrapped for this model, server and mode (KC-9)',
    found: 'one that does not open',
  };
  return keyIntegrityRefusals.error('key-wrapped-damaged', facts, { cause });
}

/** @param id what the wrapped key names; comes from the key store */
export function wrappingKeyUnknown({ manifestDigest }: ModelKeyContext, id: string): RefusalError {
  return keyIntegrityRefusals.error('wrapping-key-unknown', {
    field: `modelKeys.${manifestDigest}`,
    expected: 'a wrapping key of this custody (KC-13)',
    found: id,
  });
}

/** KC-17. @throws RefusalError `wrapping-key-in-use` */
export function requireNoneInUse(older: readonly string[], inUse: ReadonlySet<string>): void {
  const needed = older.filter((id) => inUse.has(id));
  if (needed.length === 0) return;
  throw keyUsageRefusals.error('wrapping-key-in-use', {
    field: 'wrappingKeys',
    expected: 'older wrapping keys that no stored key needs (KC-17)',
    found: needed.join(', '),
  });
}

/** @param place of the custody, for people */
export function custodyClosed(place: string): RefusalError {
  return keyUsageRefusals.error('custody-closed', {
    field: place,
    expected: 'an open custody',
    found: 'none',
  });
}
