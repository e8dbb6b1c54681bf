/** Writes an export of a log (docs/spec/audit.md, AU-10 to AU-13), whole and verified or not at all. */

import type { FileHandle } from 'node:fs/promises';

import { concatBytes, toBase64 } from '../../attestation/core/bytes.ts';
import type { LogTrust, VerifiedCheckpoint } from '../log/checkpoint.ts';
import { auditLog } from '../log/reader.ts';
import { foldPlan, planConsistency, TreeBuilder, type NodeId, type NodePlan } from '../log/tree.ts';
import { produceFileDurably } from '../platform/files.ts';
import {
  entryLine,
  exportNothingRefusals,
  headerLine,
  trailerLine,
  type ExportHeader,
} from './export-format.ts';
import type { NewestCheckpoint } from './newest.ts';

const WRITE_BYTES = 1 << 20;
/** Everybody may read what everybody may fetch. */
const EXPORT_MODE = 0o644;

/**
 * Reads a log up to its newest checkpoint, verifies all of it, and writes the entries that follow on a checkpoint.
 *
 * @param newest as `fetchNewest` gives it
 * @param previous where the export before ended; undefined to begin with the first entry
 * @throws RefusalError `export-nothing`, `file-exists`, `file-not-written`, and those of `auditLog`
 */
export async function writeExport(
  path: string,
  { checkpoint, source }: NewestCheckpoint,
  trust: LogTrust,
  previous: VerifiedCheckpoint | undefined,
): Promise<void> {
  const first = previous?.size ?? 0n;
  if (checkpoint.size <= first) {
    const facts = {
      field: 'checkpoint.size',
      expected: `more than ${first}`,
      found: checkpoint.size.toString(),
    };
    throw exportNothingRefusals.error('export-nothing', facts);
  }
  const header = headerOf(checkpoint, previous);
  await produceFileDurably(path, EXPORT_MODE, { overwrite: false }, async (file) => {
    const lines = new LineWriter(file);
    const proof = new ProofCollector(first, checkpoint.size);
    await lines.write(headerLine(header));
    await auditLog(source, trust, { minimumSize: first + 1n, previous }, async (entry, index) => {
      proof.append(entry);
      if (index >= first) await lines.write(entryLine(index, entry));
    });
    const consistency = proof.hashes().map(toBase64);
    await lines.write(trailerLine({ entries: `${checkpoint.size - first}`, last: header.last, consistency }));
    await lines.flush();
  });
}

function headerOf(checkpoint: VerifiedCheckpoint, previous: VerifiedCheckpoint | undefined): ExportHeader {
  return {
    format: 'weightgate-log-export',
    version: 1,
    origin: checkpoint.origin,
    first: (previous?.size ?? 0n).toString(),
    last: (checkpoint.size - 1n).toString(),
    previous: previous?.note ?? null,
    checkpoint: checkpoint.note,
  };
}

class LineWriter {
  readonly #file: FileHandle;
  #waiting: Uint8Array[] = [];
  #waitingBytes = 0;

  constructor(file: FileHandle) {
    this.#file = file;
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#waiting.push(bytes);
    this.#waitingBytes += bytes.length;
    if (this.#waitingBytes >= WRITE_BYTES) await this.flush();
  }

  async flush(): Promise<void> {
    await this.#file.appendFile(concatBytes(...this.#waiting));
    this.#waiting = [];
    this.#waitingBytes = 0;
  }
}

/** Keeps the few subtrees of which a consistency proof is made, out of all that pass by. */
class ProofCollector {
  readonly #plans: readonly NodePlan[];
  readonly #tree = new TreeBuilder();
  /** By name; undefined until the subtree is complete. */
  readonly #hashes = new Map<string, Uint8Array | undefined>();

  constructor(first: bigint, size: bigint) {
    this.#plans = planConsistency(first, size);
    for (const id of this.#plans.flat()) this.#hashes.set(nameOf(id), undefined);
  }

  append(entry: Uint8Array): void {
    if (this.#hashes.size === 0) return;
    for (const node of this.#tree.append(entry)) {
      const name = nameOf(node);
      if (this.#hashes.has(name)) this.#hashes.set(name, node.hash);
    }
  }

  hashes(): readonly Uint8Array[] {
    return this.#plans.map((plan) => foldPlan(plan.map((id) => this.#hashOf(id))));
  }

  #hashOf(id: NodeId): Uint8Array {
    const hash = this.#hashes.get(nameOf(id));
    if (hash === undefined) throw new RangeError(`the subtree ${nameOf(id)} is not complete`);
    return hash;
  }
}

function nameOf({ level, index }: NodeId): string {
  return `${level}/${index}`;
}
