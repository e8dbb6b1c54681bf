/**
 * Custody by wrapping keys that a TPM has sealed (docs/spec/key-custody.md section 8). The TPM opens them in an approved
 * state of the machine; from then on they are in locked memory of this process.
 */

import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
import type { KeyMemory } from '../../../native/memory/key-memory.ts';
import { TaskQueue } from '../../../native/tpm/transport.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import { writeFileDurably } from '../../platform/files.ts';
import type { CustodyDescription, KeyCustody, ModelKeyContext, WrappingKeys } from '../custody.ts';
import {
  custodyClosed,
  requireModelKey,
  requireNoneInUse,
  wrappedDamaged,
  wrappingKeyUnknown,
} from '../custody-checks.ts';
import { rewrapHere } from '../rewrapping.ts';
import { readWrappedKey, unwrapWith, wrappingKeyNamedBy, wrapUnder } from '../file/wrapped-key.ts';
import { keyIntegrityRefusals } from '../refusals.ts';
import { readApprovalFolder } from './approval-folder.ts';
import type { ApprovalRules } from './approval.ts';
import {
  identityOf,
  readTpmCustodyFile,
  type SealedKeyEntry,
  signerOf,
  type TpmCustodyDocument,
  withCurrentSealedKeyOnly,
  withSealedKey,
} from './document.ts';
import type { CustodyIdentity } from './policy.ts';
import { type OpeningApprovals, openKeys, sealFurtherKey } from './sealed-keys.ts';

const OWNER_ONLY = 0o600;

export interface TpmCustodyOptions extends Pick<CustodyIdentity, 'origin' | 'mode'> {
  /** The custody file. */
  readonly path: string;
  /** The folder of approvals. */
  readonly approvals: string;
  /** TCTI text. */
  readonly tpmAddress: string;
  /** Replaces the way to the TPM. */
  readonly openTpm?: (address: string) => Promise<Tpm>;
  /** Replaces the file durably, whole or not at all. */
  readonly replace?: (path: string, bytes: Uint8Array) => Promise<void>;
}

/** Opens the TPM for the time of some work. */
export async function withCustodyTpm<T>(
  { tpmAddress, openTpm = (address) => Tpm.open(address) }: TpmCustodyOptions,
  work: (tpm: Tpm) => Promise<T>,
): Promise<T> {
  const tpm = await openTpm(tpmAddress);
  try {
    return await work(tpm);
  } finally {
    await tpm.close();
  }
}

export function approvalRules(document: TpmCustodyDocument): ApprovalRules {
  const { counterIndex, closingPcr } = document;
  return { identity: identityOf(document), signer: signerOf(document), counterIndex, closingPcr };
}

/**
 * @throws RefusalError `custody-tpm-*`, `custody-approval-withdrawn`, `keyring-other-server`, `key-file-damaged`,
 *   `key-file-exposed`, `tpm-*`, `memory-*`, `file-*`, `json-*`, `shape-mismatch`
 */
export async function openTpmCustody(options: TpmCustodyOptions): Promise<KeyCustody> {
  const document = await readTpmCustodyFile(options.path, options);
  return new TpmCustody(options, document, await unsealed(options, document, document.keys));
}

async function unsealed(
  options: TpmCustodyOptions,
  document: TpmCustodyDocument,
  entries: readonly SealedKeyEntry[],
): Promise<Map<string, KeyMemory>> {
  const opening = await openingApprovals(options, document);
  return await withCustodyTpm(options, (tpm) => openKeys(tpm, document, entries, opening));
}

async function openingApprovals(
  options: TpmCustodyOptions,
  document: TpmCustodyDocument,
): Promise<OpeningApprovals> {
  const { approvals, refused } = await readApprovalFolder(options.approvals, approvalRules(document));
  return { approvals, field: [options.approvals, ...refused].join(', ') };
}

class TpmCustody implements KeyCustody {
  readonly description: CustodyDescription;
  private readonly options: TpmCustodyOptions;
  private readonly changes = new TaskQueue();
  private document: TpmCustodyDocument;
  private keys: Map<string, KeyMemory>;
  private closed = false;

  constructor(options: TpmCustodyOptions, document: TpmCustodyDocument, keys: Map<string, KeyMemory>) {
    this.description = { provider: 'tpm', place: `${options.path}, ${options.tpmAddress}` };
    this.options = options;
    this.document = document;
    this.keys = keys;
  }

  async wrappingKeys(): Promise<WrappingKeys> {
    await this.reload();
    return this.known();
  }

  private known(): WrappingKeys {
    const { current, keys } = this.document;
    return { current, older: keys.map(({ id }) => id).filter((id) => id !== current) };
  }

  async wrap(key: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    this.requireOpen();
    requireModelKey(key);
    // Not from memory: a key that another process has retired since would wrap for nobody.
    await this.reload();
    const { current: id } = this.document;
    return this.keyOf(id, context).use((wrappingKey) => wrapUnder({ id, wrappingKey }, key, context));
  }

  async unwrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    this.requireOpen();
    const read = readWrappedKey(wrapped);
    const id = wrappingKeyNamedBy(read);
    if (!this.keys.has(id)) await this.reload();
    const key = this.keyOf(id, context).use((wrappingKey) => unwrapWith(wrappingKey, read, context));
    if (key === undefined) throw wrappedDamaged(context);
    return key;
  }

  private keyOf(id: string, context: ModelKeyContext): KeyMemory {
    this.requireOpen();
    const key = this.keys.get(id);
    if (key === undefined) throw wrappingKeyUnknown(context, id);
    return key;
  }

  rewrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    return rewrapHere(this, wrapped, context);
  }

  wrappingKeyOf(wrapped: Uint8Array): string {
    return wrappingKeyNamedBy(readWrappedKey(wrapped));
  }

  isCurrent(wrapped: Uint8Array): boolean {
    return this.wrappingKeyOf(wrapped) === this.document.current;
  }

  rotate(): Promise<void> {
    return this.changes.run(async () => {
      await this.takeOver();
      const { document } = this;
      const opening = await openingApprovals(this.options, document);
      const { entry, key } = await withCustodyTpm(this.options, (tpm) =>
        sealFurtherKey(tpm, document, opening),
      );
      this.keys.set(entry.id, key);
      await this.closeIfClosed();
      await this.replace(withSealedKey(document, entry));
    });
  }

  retire(inUse: ReadonlySet<string>): Promise<readonly string[]> {
    return this.changes.run(async () => {
      await this.takeOver();
      const { older } = this.known();
      requireNoneInUse(older, inUse);
      if (older.length > 0) await this.replace(withCurrentSealedKeyOnly(this.document));
      return older;
    });
  }

  close(): Promise<void> {
    this.closed = true;
    for (const key of this.keys.values()) key.close();
    this.keys.clear();
    return Promise.resolve();
  }

  private async replace(document: TpmCustodyDocument): Promise<void> {
    const replace = this.options.replace ?? replaceFile;
    await replace(this.options.path, encodeCanonicalJson(document));
    await this.takeOver();
  }

  private reload(): Promise<void> {
    return this.changes.run(() => this.takeOver());
  }

  /** Takes over what another process has rotated or retired since. */
  private async takeOver(): Promise<void> {
    this.requireOpen();
    const document = await readTpmCustodyFile(this.options.path, this.options);
    this.requireSameCustody(document);
    const added = document.keys.filter(({ id }) => !this.keys.has(id));
    const opened = added.length === 0 ? [] : await unsealed(this.options, document, added);
    for (const [id, key] of opened) this.keys.set(id, key);
    await this.closeIfClosed();
    this.document = document;
    this.forgetRetired();
  }

  private forgetRetired(): void {
    const kept = new Set(this.document.keys.map(({ id }) => id));
    for (const [id, key] of this.keys) {
      if (kept.has(id)) continue;
      key.close();
      this.keys.delete(id);
    }
  }

  private requireSameCustody(document: TpmCustodyDocument): void {
    const facts = ({ custody, signer, storageKey, counterIndex, closingPcr }: TpmCustodyDocument): string =>
      [custody, signer, storageKey, counterIndex, closingPcr].join(' ');
    if (facts(document) === facts(this.document)) return;
    throw keyIntegrityRefusals.error('key-file-damaged', {
      field: this.options.path,
      expected: 'the custody that was opened, with other keys at most',
      found: 'another custody',
    });
  }

  /** Keys that were opened while the custody was closed must not stay. */
  private async closeIfClosed(): Promise<void> {
    if (this.closed) await this.close();
    this.requireOpen();
  }

  private requireOpen(): void {
    if (this.closed) throw custodyClosed(this.description.place);
  }
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  await writeFileDurably(path, bytes, OWNER_ONLY);
}
