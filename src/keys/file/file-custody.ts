/**
 * Custody by wrapping keys in a file under a passphrase, for evaluation servers only (docs/spec/key-custody.md
 * section 6). Every change of the file is one replacement of the whole: it holds what was before or what is after.
 */

import { equalBytes } from '../../../attestation/core/bytes.ts';
import { encodeCanonicalJson } from '../../../attestation/core/canonical-json.ts';
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
import { keyIntegrityRefusals, keyUsageRefusals } from '../refusals.ts';
import { newStretching, withStretchedKey } from '../secret-box.ts';
import { writeSecretFile } from '../secret-file.ts';
import { readWrappedKey, unwrapWith, wrappingKeyNamedBy, wrapUnder } from './wrapped-key.ts';
import {
  newDocument,
  newWrappingKey,
  openBoxes,
  readWrappingKeyFile,
  withCurrentKeyOnly,
  withKeyAdded,
  type NamedWrappingKey,
  type ServerIdentity,
  type WrappingKeyDocument,
} from './wrapping-key-file.ts';

const OWNER_ONLY = 0o600;

export interface FileCustodyOptions extends ServerIdentity {
  readonly path: string;
  readonly passphrase: string;
  /** Replaces the file durably, whole or not at all. */
  readonly replace?: (path: string, bytes: Uint8Array) => Promise<void>;
}

/**
 * Makes the file with a first wrapping key.
 *
 * @param first in place of a new key, from a server home of before; stays the caller's
 * @throws RefusalError `key-file-custody-in-production`, `key-passphrase-empty`, `file-exists`, `file-not-written`
 */
export async function createFileCustody(
  options: FileCustodyOptions,
  first?: NamedWrappingKey,
): Promise<void> {
  refuseInProduction(options);
  const stretching = newStretching();
  const document = await withStretchedKey(options.passphrase, stretching, (stretchedKey) => {
    if (first !== undefined) return newDocument(options, stretching, stretchedKey, first);
    const made = newWrappingKey();
    const fresh = newDocument(options, stretching, stretchedKey, made);
    made.wrappingKey.fill(0);
    return fresh;
  });
  await writeSecretFile(options.path, document);
}

/**
 * @throws RefusalError `key-file-custody-in-production`, `key-passphrase-wrong`, `key-file-damaged`,
 *   `key-file-exposed`, `keyring-other-server`, `file-*`, `json-*`, `shape-mismatch`
 */
export async function openFileCustody(options: FileCustodyOptions): Promise<KeyCustody> {
  refuseInProduction(options);
  const document = await readWrappingKeyFile(options.path, options);
  return await withStretchedKey(options.passphrase, document.stretching, (stretchedKey) => {
    const keys = openBoxes(document, stretchedKey, options.path);
    return new FileCustody(options, Uint8Array.from(stretchedKey), document, keys);
  });
}

/** KC-7. */
function refuseInProduction({ mode, path }: FileCustodyOptions): void {
  if (mode === 'evaluation') return;
  throw keyUsageRefusals.error('key-file-custody-in-production', {
    field: path,
    expected: 'custody by tpm, pkcs11 or vault (KC-7)',
    found: 'wrapping keys in a file',
  });
}

class FileCustody implements KeyCustody {
  readonly description: CustodyDescription;
  private readonly options: FileCustodyOptions;
  /** Opens the boxes of keys that another process adds; the passphrase itself is not kept. */
  private readonly stretchedKey: Uint8Array;
  private document: WrappingKeyDocument;
  private keys: Map<string, Uint8Array>;
  private closed = false;

  constructor(
    options: FileCustodyOptions,
    stretchedKey: Uint8Array,
    document: WrappingKeyDocument,
    keys: Map<string, Uint8Array>,
  ) {
    this.description = { provider: 'file', place: options.path };
    this.options = options;
    this.stretchedKey = stretchedKey;
    this.document = document;
    this.keys = keys;
  }

  async wrappingKeys(): Promise<WrappingKeys> {
    await this.reload();
    const { current, keys } = this.document;
    return { current, older: keys.map(({ id }) => id).filter((id) => id !== current) };
  }

  async wrap(key: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    requireModelKey(key);
    // Not from memory: a key that another process has retired since would wrap for nobody.
    await this.reload();
    const { current: id } = this.document;
    const wrappingKey = this.keys.get(id);
    if (wrappingKey === undefined) throw wrappingKeyUnknown(context, id);
    return wrapUnder({ id, wrappingKey }, key, context);
  }

  async unwrap(wrapped: Uint8Array, context: ModelKeyContext): Promise<Uint8Array> {
    this.requireOpen();
    const read = readWrappedKey(wrapped);
    const id = wrappingKeyNamedBy(read);
    if (!this.keys.has(id)) await this.reload();
    const wrappingKey = this.keys.get(id);
    if (wrappingKey === undefined) throw wrappingKeyUnknown(context, id);
    const key = unwrapWith(wrappingKey, read, context);
    if (key === undefined) throw wrappedDamaged(context);
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

  async rotate(): Promise<void> {
    await this.reload();
    const made = newWrappingKey();
    try {
      await this.replace(withKeyAdded(this.document, this.stretchedKey, made));
    } finally {
      made.wrappingKey.fill(0);
    }
  }

  async retire(inUse: ReadonlySet<string>): Promise<readonly string[]> {
    const { older } = await this.wrappingKeys();
    requireNoneInUse(older, inUse);
    if (older.length > 0) await this.replace(withCurrentKeyOnly(this.document));
    return older;
  }

  close(): Promise<void> {
    this.closed = true;
    this.stretchedKey.fill(0);
    for (const key of this.keys.values()) key.fill(0);
    this.keys.clear();
    return Promise.resolve();
  }

  private async replace(document: WrappingKeyDocument): Promise<void> {
    const bytes = encodeCanonicalJson(document);
    await (this.options.replace ?? replaceFile)(this.options.path, bytes);
    await this.reload();
  }

  /** Another process may have rotated or retired since. */
  private async reload(): Promise<void> {
    this.requireOpen();
    const { path } = this.options;
    const document = await readWrappingKeyFile(path, this.options);
    this.requireOpen();
    if (!sameStretching(document, this.document)) {
      throw keyIntegrityRefusals.error('key-file-damaged', {
        field: path,
        expected: 'the file that was opened, with other keys at most',
        found: 'another file',
      });
    }
    const keys = openBoxes(document, this.stretchedKey, path);
    for (const key of this.keys.values()) key.fill(0);
    this.keys = keys;
    this.document = document;
  }

  private requireOpen(): void {
    if (this.closed) throw custodyClosed(this.description.place);
  }
}

function sameStretching(left: WrappingKeyDocument, right: WrappingKeyDocument): boolean {
  return equalBytes(encodeCanonicalJson(left.stretching), encodeCanonicalJson(right.stretching));
}

async function replaceFile(path: string, bytes: Uint8Array): Promise<void> {
  await writeFileDurably(path, bytes, OWNER_ONLY);
}
