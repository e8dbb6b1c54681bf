/**
 * Custody by the transit engine of Vault or OpenBao. Vault encrypts data keys and never sees a model key; what is
 * stored opens only with both, Vault's key and the key store (docs/spec/key-custody.md section 7).
 */

import { fromBase64, toBase64 } from '../../../attestation/core/bytes.ts';
import type { CustodyDescription, KeyCustody, ModelKeyContext, WrappingKeys } from '../custody.ts';
import {
  custodyClosed,
  requireModelKey,
  requireNoneInUse,
  wrappedDamaged,
  wrappingKeyUnknown,
} from '../custody-checks.ts';
import { newSeed, SEED_BYTES } from '../ed25519-seed.ts';
import { keyUseRefusals } from '../refusals.ts';
import { decrypted, encrypted, readTransitAnswer, transitKey, type TransitKey } from './transit-answers.ts';
import type { TransitCall, TransitClient } from './transit-client.ts';
import {
  decryptModelKey,
  encryptModelKey,
  keyVersionOf,
  readVaultWrappedKey,
  writeVaultWrappedKey,
  type VaultWrappedKey,
} from './wrapped-key.ts';

/** With authentication; of the lengths that are as strong as the model keys. */
const KEY_TYPES = ['aes256-gcm96', 'chacha20-poly1305'];

/** Makes the key in Vault where there is none. @throws RefusalError `custody-*` */
export async function createVaultKey(client: TransitClient, name: string): Promise<void> {
  if ((await findKey(client, name)) !== undefined) return;
  const body = { type: 'aes256-gcm96', derived: false, exportable: false, allow_plaintext_backup: false };
  const made = await client.call({ method: 'POST', path: `keys/${name}`, body, repeatable: true });
  if (made.outcome !== 'done') refuseAnswer(client, 'a new key', made.outcome);
}

/**
 * @param name of the key in the engine
 * @throws RefusalError `custody-*`
 */
export async function openVaultCustody(client: TransitClient, name: string): Promise<KeyCustody> {
  const key = await findKey(client, name);
  if (key === undefined) refuseAnswer(client, 'a key of this name (KC-32)', 'none');
  return new VaultCustody(client, name, key.latest_version);
}

/** KC-32. */
async function findKey(client: TransitClient, name: string): Promise<TransitKey | undefined> {
  const answer = await client.call({ method: 'GET', path: `keys/${name}`, repeatable: true });
  if (answer.outcome === 'not-found') return undefined;
  if (answer.outcome === 'invalid') refuseAnswer(client, 'a key', 'a request that is not valid');
  const { data } = readTransitAnswer(transitKey, answer.body, client.place);
  if (!KEY_TYPES.includes(data.type)) refuseAnswer(client, KEY_TYPES.join(' or '), data.type);
  if (data.derived) refuseAnswer(client, 'a key that is not derived', 'derived');
  if (data.exportable || data.allow_plaintext_backup) {
    refuseAnswer(client, 'a key that nobody can take out', 'exportable, or with plaintext backup');
  }
  return data;
}

function refuseAnswer({ place }: TransitClient, expected: string, found: string): never {
  throw keyUseRefusals.error('custody-failed', { field: place, expected, found });
}

const idOf = (version: number): string => `v${version}`;

class VaultCustody implements KeyCustody {
  readonly description: CustodyDescription;
  private readonly client: TransitClient;
  private readonly name: string;
  private latestVersion: number;
  private closed = false;

  constructor(client: TransitClient, name: string, latestVersion: number) {
    this.description = { provider: 'vault', place: client.place };
    this.client = client;
    this.name = name;
    this.latestVersion = latestVersion;
  }

  async wrappingKeys(): Promise<WrappingKeys> {
    const key = await this.readKey();
    const oldest = Math.max(1, key.min_available_version);
    const older = Array.from({ length: key.latest_version - oldest }, (_, index) => idOf(oldest + index));
    return { current: idOf(key.latest_version), older };
  }

  async wrap(key: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    requireModelKey(key);
    const dataKey = newSeed();
    try {
      const sealed = encryptModelKey(dataKey, key, context);
      const body = { plaintext: toBase64(dataKey) };
      const answer = await this.call({
        method: 'POST',
        path: `encrypt/${this.name}`,
        body,
        repeatable: true,
      });
      if (answer.outcome !== 'done') refuseAnswer(this.client, 'an encrypted data key', answer.outcome);
      const { ciphertext } = readTransitAnswer(encrypted, answer.body, this.client.place).data;
      return this.keep(ciphertext, sealed);
    } finally {
      dataKey.fill(0);
    }
  }

  async unwrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    this.requireOpen();
    const read = readVaultWrappedKey(wrapped);
    const body = { ciphertext: read.dataKey };
    const answer = await this.call({ method: 'POST', path: `decrypt/${this.name}`, body, repeatable: true });
    if (answer.outcome !== 'done') return await this.refuseWrapped(read, context);
    const { plaintext } = readTransitAnswer(decrypted, answer.body, this.client.place).data;
    const dataKey = fromBase64(plaintext, this.client.place);
    try {
      const key = dataKey.length === SEED_BYTES ? decryptModelKey(dataKey, read, context) : undefined;
      if (key === undefined) throw wrappedDamaged(context);
      return key;
    } finally {
      dataKey.fill(0);
    }
  }

  /** Vault renews the data key without showing it; the model key is unwrapped first, to know that it does. */
  async rewrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    (await this.unwrap(wrapped, context)).fill(0);
    const read = readVaultWrappedKey(wrapped);
    const body = { ciphertext: read.dataKey };
    const answer = await this.call({ method: 'POST', path: `rewrap/${this.name}`, body, repeatable: true });
    if (answer.outcome !== 'done') return await this.refuseWrapped(read, context);
    const { ciphertext } = readTransitAnswer(encrypted, answer.body, this.client.place).data;
    const renewed = this.keep(ciphertext, read);
    // What replaces a stored key must be known to open: nobody else looks at it before the old one is gone.
    (await this.unwrap(renewed, context)).fill(0);
    return renewed;
  }

  wrappingKeyOf(wrapped: Uint8Array): string {
    return idOf(readVaultWrappedKey(wrapped).keyVersion);
  }

  isCurrent(wrapped: Uint8Array): boolean {
    return readVaultWrappedKey(wrapped).keyVersion === this.latestVersion;
  }

  async rotate(): Promise<void> {
    const path = `keys/${this.name}/rotate`;
    const answer = await this.call({ method: 'POST', path, body: {}, repeatable: false });
    if (answer.outcome !== 'done') refuseAnswer(this.client, 'a new version of the key', answer.outcome);
    await this.readKey();
  }

  /** First no older version decrypts any more, then they are deleted for good (KC-35). */
  async retire(inUse: ReadonlySet<string>): Promise<readonly string[]> {
    const { older } = await this.wrappingKeys();
    requireNoneInUse(older, inUse);
    if (older.length === 0) return older;
    const latest = this.latestVersion;
    await this.configure('config', { min_decryption_version: latest, min_encryption_version: latest });
    await this.configure('trim', { min_available_version: latest });
    return older;
  }

  close(): Promise<void> {
    this.closed = true;
    this.client.close();
    return Promise.resolve();
  }

  private async configure(what: 'config' | 'trim', body: NonNullable<TransitCall['body']>): Promise<void> {
    const path = `keys/${this.name}/${what}`;
    const answer = await this.call({ method: 'POST', path, body, repeatable: true });
    if (answer.outcome !== 'done') refuseAnswer(this.client, 'older versions forgotten', answer.outcome);
  }

  /** @param dataKey as Vault wrote it */
  private keep(dataKey: string, sealed: Pick<VaultWrappedKey, 'nonce' | 'ciphertext'>): Uint8Array {
    this.latestVersion = Math.max(this.latestVersion, keyVersionOf(dataKey));
    return writeVaultWrappedKey({ dataKey, nonce: sealed.nonce, ciphertext: sealed.ciphertext });
  }

  /** Vault says only that it will not: whether for a version that it does not have any more is asked. */
  private async refuseWrapped({ keyVersion }: VaultWrappedKey, context: ModelKeyContext): Promise<never> {
    const { latest_version: latest, min_decryption_version: oldest } = await this.readKey();
    if (keyVersion < oldest || keyVersion > latest) throw wrappingKeyUnknown(context, idOf(keyVersion));
    throw wrappedDamaged(context);
  }

  private async readKey(): Promise<TransitKey> {
    this.requireOpen();
    const key = await findKey(this.client, this.name);
    if (key === undefined) refuseAnswer(this.client, 'a key of this name (KC-32)', 'none');
    this.latestVersion = key.latest_version;
    return key;
  }

  private async call(call: TransitCall): ReturnType<TransitClient['call']> {
    this.requireOpen();
    return await this.client.call(call);
  }

  private requireOpen(): void {
    if (this.closed) throw custodyClosed(this.description.place);
  }
}
