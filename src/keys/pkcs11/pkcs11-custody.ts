/**
 * Custody by AES keys that were made on a PKCS#11 token and never leave it (docs/spec/key-custody.md section 9). The
 * token alone wraps and unwraps; this process sees model keys only.
 */

import { equalBytes, toHex } from '../../../attestation/core/bytes.ts';
import { isRefusal } from '../../../attestation/core/refusal.ts';
import { type Cryptoki, openPkcs11Library } from '../../../native/pkcs11/library.ts';
import { pkcs11ContentRefusals } from '../../../native/pkcs11/refusals.ts';
import type { Pkcs11Session } from '../../../native/pkcs11/session.ts';
import { GCM_TAG_BYTES } from '../../../native/pkcs11/structures.ts';
import { Pkcs11Token, type TokenChoice } from '../../../native/pkcs11/token.ts';
import type { CustodyDescription, KeyCustody, ModelKeyContext, WrappingKeys } from '../custody.ts';
import {
  custodyClosed,
  requireModelKey,
  requireNoneInUse,
  wrappedDamaged,
  wrappingKeyUnknown,
} from '../custody-checks.ts';
import { rewrapHere } from '../rewrapping.ts';
import { keyUseRefusals } from '../refusals.ts';
import { associatedData, encodeWrappedKey, readWrappedKey, type TokenWrappedKey } from './wrapped-key.ts';
import { findTokenKeys, generateTokenKey, type TokenKey } from './wrapping-keys.ts';

/** A network HSM answers within milliseconds, a smart card within seconds. */
const CALL_SECONDS = 20;
const SESSIONS = 4;

export interface Pkcs11CustodyOptions extends TokenChoice {
  /** Path of the library. */
  readonly library: string;
  /** CKA_LABEL of the wrapping keys. */
  readonly keyLabel: string;
  /** PIN of the user, in UTF-8; stays the caller's, who zeroes it. */
  readonly pin: Uint8Array;
  /** Replaces the way to the library. */
  readonly openLibrary?: (path: string, callSeconds: number) => Promise<Cryptoki>;
}

async function openToken(options: Pkcs11CustodyOptions): Promise<Pkcs11Token> {
  const { library, label, serial, pin, openLibrary = openPkcs11Library } = options;
  const opened = await openLibrary(library, CALL_SECONDS);
  return new Pkcs11Token(opened, { label, serial, pin, sessions: SESSIONS });
}

/**
 * Makes the first wrapping key on the token; changes nothing where there is one.
 *
 * @throws RefusalError `pkcs11-*`
 */
export async function createPkcs11Custody(options: Pkcs11CustodyOptions): Promise<void> {
  const token = await openToken(options);
  try {
    await token.useAlone(async (session) => {
      const keys = await findTokenKeys(session, options.keyLabel);
      if (keys.length === 0) await generateTokenKey(session, options.keyLabel, keys);
    });
  } finally {
    await token.close();
  }
}

/**
 * Opens the token and checks every wrapping key on it.
 *
 * @throws RefusalError `custody-failed` where there is no wrapping key, `pkcs11-*`
 */
export async function openPkcs11Custody(options: Pkcs11CustodyOptions): Promise<KeyCustody> {
  const token = await openToken(options);
  const custody = new Pkcs11Custody(options, token);
  try {
    await custody.wrappingKeys();
    return custody;
  } catch (error) {
    await custody.close();
    throw error;
  }
}

type KeyWork<T> = (session: Pkcs11Session, keys: readonly [TokenKey, ...TokenKey[]]) => Promise<T>;

class Pkcs11Custody implements KeyCustody {
  readonly description: CustodyDescription;
  private readonly token: Pkcs11Token;
  private readonly keyLabel: string;
  /** As this custody last saw it. */
  private current = '';
  private closed = false;

  constructor({ library, label, serial, keyLabel }: Pkcs11CustodyOptions, token: Pkcs11Token) {
    const which = serial === null ? label : `${label} (${serial})`;
    this.description = { provider: 'pkcs11', place: `${library}, token ${which}, key ${keyLabel}` };
    this.token = token;
    this.keyLabel = keyLabel;
  }

  async wrappingKeys(): Promise<WrappingKeys> {
    return await this.withKeys((_session, keys) => {
      const [current = '', ...older] = keys.map(({ id }) => toHex(id));
      return Promise.resolve({ current, older });
    });
  }

  async wrap(key: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    this.requireOpen();
    requireModelKey(key);
    return await this.withKeys((session, [current]) => wrapIn(session, current, key, context));
  }

  async unwrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    this.requireOpen();
    const read = readWrappedKey(wrapped);
    return await this.withKeys((session, keys) => unwrapIn(session, keys, read, context));
  }

  rewrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    return rewrapHere(this, wrapped, context);
  }

  wrappingKeyOf(wrapped: Uint8Array): string {
    return toHex(readWrappedKey(wrapped).wrappingKey);
  }

  isCurrent(wrapped: Uint8Array): boolean {
    return this.wrappingKeyOf(wrapped) === this.current;
  }

  async rotate(): Promise<void> {
    await this.withKeysAlone((session, keys) => generateTokenKey(session, this.keyLabel, keys));
    await this.wrappingKeys();
  }

  async retire(inUse: ReadonlySet<string>): Promise<readonly string[]> {
    const retired = new Set<string>();
    await this.withKeysAlone(async (session, [, ...older]) => {
      requireNoneInUse(
        older.map(({ id }) => toHex(id)),
        inUse,
      );
      for (const { handle, id } of older) {
        retired.add(toHex(id));
        await session.destroy(handle);
      }
    });
    return [...retired];
  }

  async close(): Promise<void> {
    this.closed = true;
    await this.token.close();
  }

  /** Lends a session together with the wrapping keys that are on the token now, the current one first. */
  private async withKeys<T>(work: KeyWork<T>): Promise<T> {
    this.requireOpen();
    return await this.token.use((session) => this.findKeysFor(session, work));
  }

  /** For work that makes or destroys keys. */
  private async withKeysAlone<T>(work: KeyWork<T>): Promise<T> {
    this.requireOpen();
    return await this.token.useAlone((session) => this.findKeysFor(session, work));
  }

  private async findKeysFor<T>(session: Pkcs11Session, work: KeyWork<T>): Promise<T> {
    const [current, ...older] = await findTokenKeys(session, this.keyLabel);
    if (current === undefined) throw noWrappingKey(this.description.place);
    this.current = toHex(current.id);
    return await work(session, [current, ...older]);
  }

  private requireOpen(): void {
    if (this.closed) throw custodyClosed(this.description.place);
  }
}

function noWrappingKey(place: string): Error {
  return keyUseRefusals.error('custody-failed', {
    field: place,
    expected: 'a wrapping key on the token (KC-60)',
    found: 'none',
  });
}

/** What was wrapped is unwrapped at once: a quirk of the token must not show when the key is needed (KC-63). */
async function wrapIn(
  session: Pkcs11Session,
  { handle, id }: TokenKey,
  key: Uint8Array,
  context: ModelKeyContext,
): Promise<Uint8Array> {
  const bound = associatedData(context, id);
  const made = await session.encryptGcm(handle, key, bound);
  const again = await session.decryptGcm(handle, made, bound);
  const isSame = equalBytes(again, key);
  again.fill(0);
  if (isSame) return encodeWrappedKey({ wrappingKey: id, ...made });
  throw pkcs11ContentRefusals.error('pkcs11-answer', {
    field: 'C_Decrypt',
    expected: 'what was encrypted just before (KC-63)',
    found: 'something else',
  });
}

async function unwrapIn(
  session: Pkcs11Session,
  keys: readonly TokenKey[],
  { wrappingKey, iv, ciphertext }: TokenWrappedKey,
  context: ModelKeyContext,
): Promise<Uint8Array> {
  const key = keys.find(({ id }) => equalBytes(id, wrappingKey));
  if (key === undefined) throw wrappingKeyUnknown(context, toHex(wrappingKey));
  const bound = associatedData(context, key.id);
  const open = async (): Promise<Uint8Array> =>
    await session.decryptGcm(key.handle, { iv, ciphertext }, bound);
  try {
    return await open();
  } catch (error) {
    if (isRefusalOf(error, 'pkcs11-ciphertext')) throw wrappedDamaged(context, error);
    if (!isRefusalOf(error, 'pkcs11-call-failed')) throw error;
  }
  // Some tokens have one value for a wrong tag and for their own failures: what they do with a fresh key tells them apart.
  const probe = await session.random(ciphertext.length - GCM_TAG_BYTES);
  await wrapIn(session, key, probe, context);
  try {
    return await open();
  } catch (error) {
    if (isRefusalOf(error, 'pkcs11-call-failed')) throw wrappedDamaged(context, error);
    throw error;
  }
}

function isRefusalOf(error: unknown, code: string): boolean {
  return isRefusal(error) && error.refusal.code === code;
}
