/**
 * The compiled part of opening and sealing (`work.cc`), and what it is told. It is built by `scripts/build-native`;
 * where no compiler was there, there is none, and callers take their own way.
 */

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const LIBRARY = fileURLToPath(new URL('../../build/native/chunks.node', import.meta.url));

/** One file. Descriptors and addresses stay valid until the promise is settled. */
export interface ChunkFile {
  readonly source: number;
  readonly target: number;
  readonly bytes: number;
  readonly chunks: number;
  /** Place of the tag of its first chunk in `tags`. */
  readonly firstTag: number;
  /** 32 bytes. */
  readonly keyAddress: bigint;
  /** The mapping of the target whose pages are to be locked; 0 for none. */
  readonly lockedAddress: bigint;
}

export interface ChunkWork {
  /** Seals when true, opens when false. */
  readonly seals: boolean;
  /** Whether pages are locked before anything is written to them: on a machine that swaps. */
  readonly locksBefore: boolean;
  readonly files: readonly ChunkFile[];
  /** 16 bytes for each chunk: read when opening, written when sealing. */
  readonly tags: Uint8Array;
  /** SHA-256 of each file's ciphertext, 32 bytes each; written when sealing, else empty. */
  readonly digests: Uint8Array;
  /** Addresses of buffers of a chunk each: one thread for each. */
  readonly stages: readonly bigint[];
  /** One element: anything but 0 stops the threads at their next chunk. */
  readonly stopped: Int32Array;
  /** One element: counted up while the threads run. */
  readonly doneBytes: BigInt64Array;
}

/** What went wrong, and where: when opening, at the lowest chunk where something did. */
export interface ChunkFailure {
  /** `short`: the source ended before its size; `tag`: a chunk is not authentic. */
  readonly problem: 'read' | 'short' | 'tag' | 'write' | 'lock' | 'cipher';
  /** Index in `files`. */
  readonly file: number;
  readonly chunk: number;
  /** As in errno(3); 0 where no system call failed. */
  readonly errorNumber: number;
}

export interface NativeChunks {
  /** Resolves when no thread runs any more; undefined when all went well or the work was stopped. */
  run(work: ChunkWork): Promise<ChunkFailure | undefined>;
}

let loaded: NativeChunks | null | undefined;

/** Undefined where the native part was not built, or does not load into this Node.js. */
export function nativeChunks(): NativeChunks | undefined {
  loaded ??= load();
  return loaded ?? undefined;
}

function load(): NativeChunks | null {
  if (!existsSync(LIBRARY)) return null;
  const library = { exports: {} };
  try {
    process.dlopen(library, LIBRARY);
  } catch {
    return null;
  }
  return library.exports as NativeChunks;
}
