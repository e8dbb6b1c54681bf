/** How a head of a log becomes a checkpoint that anybody may read (TL-16, WT-16): signed, kept, witnessed, published. */

import { equalBytes, toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import type { TreeHead } from './checkpoint-body.ts';
import { openCheckpoint, signCheckpoint, type LogTrust, type VerifiedCheckpoint } from './checkpoint.ts';
import { formatSignatureLine, parseNote, type NoteSigner } from './note.ts';
import { PublishedLog } from './published-log.ts';
import { rootAt } from './start-up.ts';
import { storageRefusals, type LogStorage } from './storage.ts';

export const signerRefusals = defineRefusals('unavailable', {
  'log-signer-failed': {
    means: 'The checkpoint could not be signed.',
    hint: 'Check the key of the log. The entry is stored; the same request with the same idempotency key will find it.',
  },
});

/** Who this log is. */
export interface LogIdentity {
  /** The name of the log; it says whether the server is an evaluation server (W9). */
  readonly origin: string;
  /** Each signs every checkpoint; one of them at least has the origin as its name. Set by the operator. */
  readonly signers: readonly NoteSigner[];
}

/** Keeps the newest checkpoint outside the database, so that an older database shows. */
export interface CheckpointKeeper {
  load(): Promise<string | undefined>;
  /** Durable when it resolves. */
  save(note: string): Promise<void>;
}

/** Who is asked to cosign each checkpoint before it is published (WT-16). */
export interface CheckpointWitnesses {
  /**
   * @param prove that the checkpoint extends the tree of a size
   * @returns the note with the cosignatures that were to be had, few or none; never rejects for a witness
   */
  cosign(
    checkpoint: VerifiedCheckpoint,
    prove: (from: bigint) => Promise<readonly Uint8Array[]>,
  ): Promise<string>;
  /**
   * Shows every witness a checkpoint that was signed before, and nothing new. A witness that does not answer holds nothing up.
   *
   * @throws RefusalError `log-not-as-witnessed`
   */
  confirm(
    checkpoint: VerifiedCheckpoint,
    prove: (from: bigint) => Promise<readonly Uint8Array[]>,
  ): Promise<void>;
  close(): void;
}

/** What every checkpoint of a log passes through. */
export interface Publication {
  readonly storage: LogStorage;
  readonly keeper: CheckpointKeeper;
  readonly identity: LogIdentity;
  readonly witnesses: CheckpointWitnesses | undefined;
}

/** Whose signatures readers of this log trust. */
export function trustOf({ origin, signers }: LogIdentity): LogTrust {
  return { origin, keys: signers.map(({ key }) => key) };
}

/**
 * Asks the witnesses whether they know the log as it is here: who puts an older copy of everything back finds no other
 * trace of what was signed since (TL-63).
 *
 * @param known the newest checkpoint that was found at start-up
 * @throws RefusalError `log-not-as-witnessed`, and those of storage and `openCheckpoint`
 */
export async function confirmWitnessed(publication: Publication, known: VerifiedCheckpoint): Promise<void> {
  const { storage, identity, witnesses } = publication;
  if (witnesses === undefined) return;
  // In the turn in which other servers publish, so that none of them is ahead for a moment.
  await storage.inTurn('publish', async () => {
    const note = await storage.newestCheckpoint();
    const stored = note === undefined ? known : await openCheckpoint(note, trustOf(identity));
    const newest = stored.size > known.size ? stored : known;
    const published = new PublishedLog(storage, newest);
    await witnesses.confirm(newest, (from) => published.consistencyProof(from, newest.size));
  });
}

/** Signs a head that is durable, makes the checkpoint durable in storage and outside it, and has it witnessed. */
export async function publish(publication: Publication, head: TreeHead): Promise<PublishedLog> {
  const { storage, identity } = publication;
  await requireStoredRoot(storage, head);
  return await haveWitnessed(publication, await keep(publication, await signHead(identity, head)));
}

/**
 * Signs a published head once more and has it witnessed anew, so that its age is bounded although nothing was appended
 * (WT-22). A witness that does not answer keeps the cosignature that it gave before.
 */
export async function republish(publication: Publication, before: PublishedLog): Promise<PublishedLog> {
  const { storage, identity } = publication;
  const { checkpoint } = before;
  await requireStoredRoot(storage, checkpoint);
  const signed = await signHead(identity, checkpoint);
  const lines = signed.slice(parseNote(signed).text.length + 1);
  const note = withNewerLines(checkpoint.note, lines);
  return await haveWitnessed(publication, await keep(publication, note));
}

/** A bit that flipped in memory must not be signed: the root is taken again from what storage returns. */
async function requireStoredRoot(storage: LogStorage, head: TreeHead): Promise<void> {
  const stored = await rootAt(storage, head.size);
  if (equalBytes(stored, head.root)) return;
  throw storageRefusals.error('log-damaged', {
    field: 'root',
    expected: toHex(head.root),
    found: toHex(stored),
  });
}

async function haveWitnessed(publication: Publication, published: PublishedLog): Promise<PublishedLog> {
  const { witnesses } = publication;
  if (witnesses === undefined) return published;
  const { checkpoint } = published;
  const note = await witnesses.cosign(checkpoint, (from) =>
    published.consistencyProof(from, checkpoint.size),
  );
  if (note === checkpoint.note) return published;
  return await keep(publication, withNewerLines(checkpoint.note, note.slice(checkpoint.note.length)));
}

/**
 * A note with more signature lines, of each key the newer one: a reader counts the first line of a key alone.
 *
 * @param lines each with its line feed
 */
function withNewerLines(note: string, lines: string): string {
  const { text, signatures } = parseNote(note);
  const all = [...signatures, ...parseNote(`${text}\n${lines}`).signatures];
  const newest = new Map(
    all.map((line) => [`${line.name}+${toHex(line.identifier)}`, formatSignatureLine(line, line.signature)]),
  );
  return `${text}\n${[...newest.values()].join('')}`;
}

/** Makes a checkpoint durable, the log's own signature verified once more. */
async function keep({ storage, keeper, identity }: Publication, note: string): Promise<PublishedLog> {
  const checkpoint = await openCheckpoint(note, trustOf(identity));
  // Outside first: then a database that has a checkpoint never stands alone, whenever the process ends (TL-23).
  await keeper.save(note);
  await storage.saveCheckpoint(checkpoint.size, note);
  return new PublishedLog(storage, checkpoint);
}

async function signHead(identity: LogIdentity, head: TreeHead): Promise<string> {
  try {
    return await signCheckpoint(identity.origin, head, identity.signers);
  } catch (cause) {
    throw signerRefusals.error(
      'log-signer-failed',
      { field: 'signature', expected: `a signature by ${identity.origin}`, found: 'a failure of the signer' },
      { cause },
    );
  }
}
