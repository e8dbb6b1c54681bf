/**
 * Where the bytes of a bundle come from (docs/spec/sealed-weights.md, section "Sources"). Nothing that a source hands
 * out is trusted: the manifest is signed, the tags have their digest in it, and chunks have their tags.
 */

/** What a read fills: memory of this process by its address, or a view of ordinary memory. */
export type ReadTarget = { readonly address: bigint } | Uint8Array;

export interface BundleSource {
  /** What the operator named, for people: a folder, or an address without credentials. */
  readonly description: string;
  /** How many reads at a time the source gains from; more than these wait for each other. */
  readonly concurrentReads: number;
  /**
   * Reads a whole file whose size nobody has vouched for: the manifest, the tags.
   *
   * @returns undefined when the file is longer than `maxBytes`; never more than these are held
   * @throws RefusalError `sealed-file-missing`, `sealed-file-kind`, `sealed-not-readable`, `source-*`
   */
  readSmall(
    path: string,
    maxBytes: number,
    signal?: AbortSignal,
  ): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /**
   * All files that lie there, by the paths they would have in a bundle, in no particular order.
   *
   * @returns undefined where the source cannot list
   * @throws RefusalError `sealed-file-kind`, `sealed-limit`, `sealed-not-readable`
   */
  inventory(): Promise<readonly string[] | undefined>;
  /**
   * Opens a file of the manifest; whoever opens it closes it.
   *
   * @param bytes its size as the manifest states it. A local file of another size is refused here, a remote one at
   *   its first answer.
   * @throws RefusalError `sealed-file-missing`, `sealed-file-kind`, `sealed-file-size`, `sealed-not-readable`
   */
  open(path: string, bytes: number): Promise<SourceFile>;
  /**
   * Where the file lies on this machine, with no link at its last segment: for threads that open it themselves.
   *
   * @returns undefined for remote files
   * @throws RefusalError `sealed-file-missing`, `sealed-file-kind`, `sealed-not-readable`
   */
  locate(path: string): Promise<string | undefined>;
}

/** One file of a source. Reads may run at the same time. */
export interface SourceFile {
  readonly path: string;
  /** As the manifest states it. */
  readonly bytes: number;
  /** Of a local file, for native code that reads by itself; valid until `close`. Undefined for remote files. */
  readonly fileDescriptor: number | undefined;
  /**
   * Fills the target from `offset` on with exactly `length` bytes, or refuses; after a refusal the target may hold
   * anything.
   *
   * @param options.again a chunk read before did not match its tag: nothing kept on the way may answer
   * @throws RefusalError `sealed-file-size`, `sealed-not-readable`, `sealed-interrupted`, `source-*`
   */
  read(target: ReadTarget, offset: number, length: number, options?: ReadOptions): Promise<void>;
  close(): Promise<void>;
}

export interface ReadOptions {
  readonly signal?: AbortSignal | undefined;
  readonly again?: boolean | undefined;
}

/**
 * Whether a chunk that does not match its tag is worth a second read (SW-41): a mirror or what lies between may have
 * given other bytes than it will the next time; a file on this machine has not.
 */
export function mayReadAgain(file: SourceFile): boolean {
  return file.fileDescriptor === undefined;
}
