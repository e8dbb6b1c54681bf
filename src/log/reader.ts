/**
 * Reading a log without trusting whoever serves it: every entry is hashed, the root is rebuilt from them and compared
 * with a checkpoint that the reader's own key verifies (docs/spec/release-log.md, section 7). Memory stays flat.
 */

import { equalBytes, fromUtf8, toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { TreeHead } from './checkpoint-body.ts';
import { openCheckpoint, type LogTrust, type VerifiedCheckpoint } from './checkpoint.ts';
import { TILE_WIDTH, decodeEntryBundle, tilePath, tileWidthAt } from './tiles.ts';
import { TreeBuilder } from './tree.ts';

export const auditRefusals = defineRefusals('inauthentic', {
  'log-root-mismatch': {
    means: 'The entries that a log serves are not those that its checkpoint was signed over.',
    hint: 'Keep the checkpoint and the entries. Either a mirror is wrong, or the log shows different histories.',
  },
  'log-split-view': {
    means: 'The log contradicts a checkpoint that this reader has seen before.',
    hint: 'Keep both checkpoints and publish them: together they prove that the log was rewritten.',
  },
  'log-too-short': {
    means: 'The log has fewer entries than this reader expects or has seen.',
    hint: 'Ask for the newest checkpoint, by another way where possible; entries are being withheld or were lost.',
  },
});

export const incompleteRefusals = defineRefusals('unavailable', {
  'log-incomplete': {
    means: 'A file of the log is missing or does not have the size that the checkpoint demands.',
    hint: 'Fetch it again or from another mirror; without it nothing about the log is verified.',
  },
});

/**
 * Fetches one file of a log; undefined where there is none. Paths are those of tlog-tiles, without leading slash. Asked
 * for several files at the same time.
 */
export type LogSource = (path: string) => Promise<Uint8Array | undefined>;

/** How many bundles are in memory, at most 16 MiB each. */
const BUNDLES_AHEAD = 4;

export interface AuditExpectations {
  /** The least number of entries. There is no default: an empty log must not pass because nobody asked. */
  readonly minimumSize: bigint;
  /** What this reader has verified before and stored itself. */
  readonly previous?: TreeHead | undefined;
}

/**
 * Called for each entry, in order. The entries are verified only when `auditLog` has returned, so act on none before.
 */
export type EntryVisitor = (entry: Uint8Array, index: bigint) => void | Promise<void>;

/**
 * Verifies a whole log.
 *
 * @param source any mirror, folder or server; nothing that it says is trusted
 * @param trust origin and keys from the reader's own configuration
 * @returns the checkpoint under which all entries stand
 * @throws RefusalError `log-root-mismatch`, `log-split-view`, `log-too-short`, `log-incomplete`,
 *   `log-bundle-malformed`, those of `openCheckpoint`, and whatever the visitor throws
 */
export async function auditLog(
  source: LogSource,
  trust: LogTrust,
  expectations: AuditExpectations,
  visit: EntryVisitor = () => undefined,
): Promise<VerifiedCheckpoint> {
  const note = await fetchFile(source, 'checkpoint');
  const checkpoint = await openCheckpoint(fromUtf8(note, 'checkpoint'), trust);
  const { minimumSize, previous } = expectations;
  const least = previous !== undefined && previous.size > minimumSize ? previous.size : minimumSize;
  if (checkpoint.size < least) {
    throw auditRefusals.error('log-too-short', {
      field: 'checkpoint.size',
      expected: `at least ${least}`,
      found: checkpoint.size.toString(),
    });
  }
  const tree = new TreeBuilder();
  if (previous?.size === 0n) checkPrevious(tree, previous);
  for await (const entries of readBundles(source, checkpoint.size)) {
    await visitAll(entries, tree.size, visit);
    // The older head may lie between two entries of the bundle.
    const seen = Number((previous?.size ?? 0n) - tree.size);
    const older = seen > 0 && seen <= entries.length ? seen : 0;
    tree.appendAll(entries.slice(0, older));
    if (previous !== undefined && older > 0) checkPrevious(tree, previous);
    tree.appendAll(entries.slice(older));
  }
  if (!equalBytes(tree.root(), checkpoint.root)) {
    throw auditRefusals.error('log-root-mismatch', {
      field: `root at size ${checkpoint.size}`,
      expected: toHex(checkpoint.root),
      found: toHex(tree.root()),
    });
  }
  return checkpoint;
}

/** Waits only where the visitor does: a turn of the event loop for each entry costs more than hashing it. */
async function visitAll(entries: readonly Uint8Array[], first: bigint, visit: EntryVisitor): Promise<void> {
  let index = first;
  for (const entry of entries) {
    const visited = visit(entry, index);
    if (visited !== undefined) await visited;
    index += 1n;
  }
}

/** All bundles in order; some are fetched while those before them are hashed. */
async function* readBundles(
  source: LogSource,
  size: bigint,
): AsyncGenerator<readonly Uint8Array[], void, undefined> {
  const count = (size + BigInt(TILE_WIDTH) - 1n) / BigInt(TILE_WIDTH);
  const fetched: Promise<readonly Uint8Array[]>[] = [];
  for (let next = 0n; next < count || fetched.length > 0;) {
    while (next < count && fetched.length < BUNDLES_AHEAD) {
      const bundle = fetchBundle(source, size, next);
      // Whether one that failed is ever asked for depends on those before it.
      bundle.catch(() => undefined);
      fetched.push(bundle);
      next += 1n;
    }
    yield (await fetched.shift()) ?? [];
  }
}

function checkPrevious(tree: TreeBuilder, previous: TreeHead): void {
  if (equalBytes(tree.root(), previous.root)) return;
  throw auditRefusals.error('log-split-view', {
    field: `root at size ${previous.size}`,
    expected: toHex(previous.root),
    found: toHex(tree.root()),
  });
}

/**
 * One bundle of a log of a size; nothing of it is verified. A mirror may have dropped a partial bundle once it has the
 * full one, of which it is the beginning.
 *
 * @throws RefusalError `log-incomplete`, `log-bundle-malformed`
 */
export async function fetchBundle(
  source: LogSource,
  size: bigint,
  index: bigint,
): Promise<readonly Uint8Array[]> {
  const width = tileWidthAt(size, 'entries', index);
  const path = tilePath({ level: 'entries', index, width });
  const partial = await source(path);
  const bytes =
    partial ?? (await fetchFile(source, tilePath({ level: 'entries', index, width: TILE_WIDTH })));
  const entries = decodeEntryBundle(bytes);
  const expected = partial === undefined ? TILE_WIDTH : width;
  if (entries.length !== expected) refuseIncomplete(path, `${expected} entries`, `${entries.length} entries`);
  return entries.slice(0, width);
}

async function fetchFile(source: LogSource, path: string): Promise<Uint8Array> {
  const bytes = await source(path);
  if (bytes === undefined) refuseIncomplete(path, 'a file of the log', 'nothing');
  return bytes;
}

function refuseIncomplete(field: string, expected: string, found: string): never {
  throw incompleteRefusals.error('log-incomplete', { field, expected, found });
}
