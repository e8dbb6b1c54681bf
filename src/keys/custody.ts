/**
 * Custody of model keys: whoever holds the wrapping keys wraps and unwraps, and never gives a wrapping key away. A file
 * does it for evaluation, a key-management service or hardware behind the same interface (docs/spec/key-custody.md
 * section 5).
 */

import type { CustodyProviderName } from '../governance/entries.ts';
import type { Mode } from '../governance/fields.ts';

/** What a wrapped model key is bound to: it opens for nothing else (KC-9). */
export interface ModelKeyContext {
  /** Lower-case hexadecimal; of an unfinished sealing the commitment of its key (KC-11). */
  readonly manifestDigest: string;
  readonly origin: string;
  readonly mode: Mode;
}

export type { CustodyProviderName } from '../governance/entries.ts';

/** For people and for the log. Nothing in it is secret. */
export interface CustodyDescription {
  readonly provider: CustodyProviderName;
  /** Where the wrapping keys are: a path, an address with the name of a key, a token with a label. */
  readonly place: string;
}

/** Identifiers of the wrapping keys that a custody holds; each is at most 64 letters, digits and dashes. */
export interface WrappingKeys {
  /** Wraps. */
  readonly current: string;
  /** These only unwrap. */
  readonly older: readonly string[];
}

/**
 * A custody that is open. Several processes may have the same one open: a key that another process has made since is
 * found when it is needed, so that unwrapping goes on during a rotation (KC-16).
 *
 * Whatever goes wrong is a refusal. Besides those that a method names, all throw `custody-closed`, and those that
 * reach outside of this process `custody-unavailable`, `custody-denied` and `custody-failed`.
 */
export interface KeyCustody {
  readonly description: CustodyDescription;
  /** As they are now, whoever changed them. */
  wrappingKeys(): Promise<WrappingKeys>;
  /**
   * Wraps under the current wrapping key.
   *
   * @param key 32 bytes; stays the caller's, who zeroes it
   * @throws RefusalError `key-length-wrong`
   */
  wrap(key: Uint8Array, context: ModelKeyContext): Promise<Uint8Array>;
  /**
   * @returns the key; the caller zeroes it after use
   * @throws RefusalError `key-wrapped-damaged`, `wrapping-key-unknown`, `layout-*`
   */
  unwrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array>;
  /**
   * The same model key under the newest wrapping key. What was given stays usable.
   *
   * @throws RefusalError as `unwrap`
   */
  rewrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array>;
  /** The wrapping key that a wrapped key names; nothing is proven by it. @throws RefusalError `layout-*` */
  wrappingKeyOf(wrapped: Uint8Array): string;
  /** Whether a wrapped key names the wrapping key that was current when this custody last looked. */
  isCurrent(wrapped: Uint8Array): boolean;
  /** Makes a new wrapping key and makes it current. The others go on to unwrap. Durable when it returns. */
  rotate(): Promise<void>;
  /**
   * Forgets every older wrapping key, durably, or none (KC-17).
   *
   * @param inUse identifiers of the wrapping keys that stored keys need
   * @returns those that were forgotten
   * @throws RefusalError `wrapping-key-in-use`
   */
  retire(inUse: ReadonlySet<string>): Promise<readonly string[]>;
  /** Zeroes what can be zeroed. Nothing else works afterwards; closing again changes nothing. */
  close(): Promise<void>;
}
