/**
 * Custody of model keys: whoever holds the key-encryption key wraps and unwraps, and never gives that key away. A file
 * does it here for evaluation; hardware does it behind the same interface.
 */

import type { Mode } from '../governance/fields.ts';

/** What a wrapped model key is bound to: it opens for nothing else (KC-9). */
export interface ModelKeyContext {
  /** Lower-case hexadecimal. */
  readonly manifestDigest: string;
  readonly origin: string;
  readonly mode: Mode;
}

export interface KeyCustody {
  /** @param key 32 bytes; stays the caller's, who zeroes it */
  wrap(key: Uint8Array, context: ModelKeyContext): Promise<Uint8Array>;
  /**
   * @returns the key; the caller zeroes it after use
   * @throws RefusalError `key-wrapped-damaged`
   */
  unwrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array>;
}
