/** A log in memory that is served as a mirror serves one, and that can lie in every way in which a mirror can. */

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { encodeEntry, type LogEntry } from '../../src/governance/entries.ts';
import type { LogTrust } from '../../src/log/checkpoint.ts';
import { signCheckpoint } from '../../src/log/checkpoint.ts';
import type { NoteSigner } from '../../src/log/note.ts';
import type { LogSource } from '../../src/log/reader.ts';
import { TILE_WIDTH, encodeEntryBundle, parseTilePath } from '../../src/log/tiles.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import { testSigner } from '../log/test-signer.ts';

export class ServedLog {
  readonly entries: Uint8Array[];
  readonly signer: NoteSigner;
  readonly trust: LogTrust;
  /** Paths that were asked for; a test may empty it. */
  readonly asked: string[] = [];

  constructor(origin: string, entries: readonly (LogEntry | Uint8Array)[], signer = testSigner(origin)) {
    this.entries = entries.map((entry) => (entry instanceof Uint8Array ? entry : encodeEntry(entry)));
    this.signer = signer;
    this.trust = { origin, keys: [signer.key] };
  }

  /** The signed checkpoint of the first entries. */
  async note(size = this.entries.length): Promise<string> {
    const tree = new TreeBuilder();
    for (const entry of this.entries.slice(0, size)) tree.append(entry);
    return await signCheckpoint(this.trust.origin, { size: BigInt(size), root: tree.root() }, [this.signer]);
  }

  /** The log as it was when it had so many entries. */
  source(size = this.entries.length): LogSource {
    return async (path) => {
      this.asked.push(path);
      if (path === 'checkpoint') return toUtf8(await this.note(size));
      const { level, index, width } = parseTilePath(path);
      const start = Number(index) * TILE_WIDTH;
      if (level !== 'entries' || start + width > size) return undefined;
      return encodeEntryBundle(this.entries.slice(start, start + width));
    };
  }
}
