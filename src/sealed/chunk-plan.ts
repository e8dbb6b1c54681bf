/** What both ways of opening a bundle work from: which files, under which keys, into which memory. */

import type { SecretMemory } from '../../native/memory/secret-memory.ts';
import type { IndexedFile } from './reader.ts';
import type { BundleSource } from './source/source.ts';

/** One file to open. */
export interface PlannedFile extends IndexedFile {
  /** In key memory; 32 bytes. */
  readonly keyAddress: bigint;
  readonly memory: SecretMemory;
  /** How many chunks the files before this one have. */
  readonly firstJob: number;
}

export interface UnsealPlan {
  readonly source: BundleSource;
  readonly files: readonly PlannedFile[];
  /** Tags of the whole bundle, authentic. */
  readonly tags: Uint8Array;
}
