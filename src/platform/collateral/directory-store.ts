/** Collateral in a folder: what was fetched or imported once, for a verifier without a way to the outside. */

import { mkdir, readdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';

import { isRefusal } from '../../../attestation/core/refusal.ts';
import { fileRefusals, readFileBounded, writeFileDurably } from '../files.ts';
import { collateralName, MAX_COLLATERAL_BYTES, type AnyCollateralItem } from './source.ts';

/** An item as it stands in a store. What it holds is not to be believed: it is checked again whenever it is used. */
export interface StoredCollateral {
  readonly bytes: Uint8Array;
  /** POSIX seconds of the last writing. */
  readonly storedAt: number;
}

const EXTENSIONS: Readonly<Record<AnyCollateralItem['kind'], string>> = {
  vcek: 'der',
  chain: 'pem',
  crl: 'crl',
  rim: 'xml',
  'superseded-rim': 'xml',
  ocsp: 'der',
  'issuer-chain': 'pem',
  'nras-keys': 'json',
};

/** Bounds of a listing: a fleet of a hundred thousand machines at several levels of firmware each. */
const MAX_LISTED = 1_000_000;

export class DirectoryStore {
  readonly folder: string;

  /** @param folder need not be there before something is put into it */
  constructor(folder: string) {
    this.folder = folder;
  }

  /** @throws RefusalError `file-not-readable`, `file-too-large` */
  async find(item: AnyCollateralItem): Promise<StoredCollateral | undefined> {
    const path = this.pathOf(item);
    try {
      const bytes = await readFileBounded(path, MAX_COLLATERAL_BYTES[item.kind]);
      const { mtimeMs } = await stat(path);
      return { bytes, storedAt: Math.floor(mtimeMs / 1000) };
    } catch (error) {
      if (isRefusal(error) && error.refusal.code === 'file-not-found') return undefined;
      throw error;
    }
  }

  /** Writes an item whole or not at all. The caller has checked it. @throws RefusalError `file-not-written` */
  async put(item: AnyCollateralItem, bytes: Uint8Array): Promise<void> {
    const path = this.pathOf(item);
    await this.makeFolder(dirname(path));
    await writeFileDurably(path, bytes, 0o644);
  }

  /** Paths of what is kept, below the folder, in order. Files that are being written are not among them. */
  async list(): Promise<readonly string[]> {
    const entries = await readdir(this.folder, { recursive: true, withFileTypes: true }).catch(() => []);
    return entries
      .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
      .slice(0, MAX_LISTED)
      .map((entry) => join(entry.parentPath, entry.name).slice(this.folder.length + 1))
      .sort();
  }

  /** POSIX seconds of the last writing of what {@link list} names. @throws RefusalError `file-not-found` */
  async storedAt(name: string): Promise<number> {
    const path = join(this.folder, name);
    const { mtimeMs } = await stat(path).catch((cause: unknown) => {
      const facts = { field: path, expected: 'a file', found: 'none' };
      throw fileRefusals.error('file-not-found', facts, { cause });
    });
    return Math.floor(mtimeMs / 1000);
  }

  private pathOf(item: AnyCollateralItem): string {
    return join(this.folder, `${collateralName(item)}.${EXTENSIONS[item.kind]}`);
  }

  private async makeFolder(path: string): Promise<void> {
    try {
      await mkdir(path, { recursive: true });
    } catch (cause) {
      const facts = { field: path, expected: 'a folder that can be made', found: 'none' };
      throw fileRefusals.error('file-not-written', facts, { cause });
    }
  }
}
