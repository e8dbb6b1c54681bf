/**
 * Offline proofs of inclusion (c2sp.org/tlog-proof@v1; TL-14, TL-15): an index, the hashes of the path and a signed
 * checkpoint in one text. Whoever holds the entry and the key of the log needs nothing else, and no network.
 */

import { excerpt, fromBase64, toBase64 } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { openCheckpoint, type LogTrust, type VerifiedCheckpoint } from './checkpoint.ts';
import { leafHash, verifyInclusion } from './merkle.ts';
import { parseUint64 } from './uint64.ts';
import { requireQuorum } from './witnessed-checkpoint.ts';
import type { Witnessing } from './witness-policy.ts';

export const tlogProofRefusals = defineRefusals('malformed', {
  'log-proof-malformed': {
    means: 'A text is not an offline proof of a log.',
    hint: 'The proof was cut or edited; ask the server for it again.',
  },
});

const HEADER = 'c2sp.org/tlog-proof@v1';
const MAX_CHARACTERS = 1_100_000;

/** What a proof claims. */
export interface TlogProof {
  /** For the application; nobody has signed it. */
  readonly extra?: Uint8Array | undefined;
  readonly index: bigint;
  /** Sibling hashes, that of the leaf first. */
  readonly hashes: readonly Uint8Array[];
  /** The signed note of the checkpoint, verbatim. */
  readonly checkpoint: string;
}

/** An entry that is in the log. */
export interface VerifiedInclusion {
  readonly index: bigint;
  /** 32 bytes. */
  readonly leafHash: Uint8Array;
  readonly checkpoint: VerifiedCheckpoint;
}

export function formatTlogProof(proof: TlogProof): string {
  const extra = proof.extra === undefined ? '' : `extra ${toBase64(proof.extra)}\n`;
  const hashes = proof.hashes.map((hash) => `${toBase64(hash)}\n`).join('');
  return `${HEADER}\n${extra}index ${proof.index}\n${hashes}\n${proof.checkpoint}`;
}

/**
 * Reads a proof; nothing of it is trusted yet.
 *
 * @param text comes from whoever shows the proof
 * @throws RefusalError `log-proof-malformed`, `log-number-malformed`, `base64-malformed`
 */
export function parseTlogProof(text: string): TlogProof {
  if (text.length > MAX_CHARACTERS) refuse(`at most ${MAX_CHARACTERS} characters`, `${text.length}`);
  const blank = text.indexOf('\n\n');
  const [header, ...lines] = text.slice(0, Math.max(blank, 0)).split('\n');
  if (header !== HEADER) refuse(HEADER, excerpt(text));
  const extra = lines[0]?.startsWith('extra ') === true ? lines.shift()?.slice('extra '.length) : undefined;
  const index = lines.shift() ?? '';
  if (!index.startsWith('index ')) refuse('a line that begins with "index "', excerpt(index));
  return {
    extra: extra === undefined ? undefined : fromBase64(extra, 'proof.extra'),
    index: parseUint64(index.slice('index '.length), 'proof.index'),
    hashes: lines.map((line, i) => fromBase64(line, `proof.hashes[${i}]`)),
    checkpoint: text.slice(blank + 2),
  };
}

/** Whom a reader of a proof trusts, and whom besides the log it demands. */
export interface ProofTrust extends LogTrust {
  readonly witnesses: Witnessing;
}

/**
 * Verifies that an entry is in the log that the caller trusts.
 *
 * @param entry the bytes that the caller holds and is about to act on
 * @param text the proof, from whoever shows it
 * @throws RefusalError those of `parseTlogProof`, `openCheckpoint`, `requireQuorum` and `verifyInclusion`
 */
export async function verifyTlogProof(
  entry: Uint8Array,
  text: string,
  trust: ProofTrust,
): Promise<VerifiedInclusion> {
  const { index, hashes, checkpoint: note } = parseTlogProof(text);
  const checkpoint = await openCheckpoint(note, trust);
  if (trust.witnesses !== 'not-required') await requireQuorum(checkpoint, trust.witnesses);
  const hash = leafHash(entry);
  verifyInclusion({ leafHash: hash, index, size: checkpoint.size, proof: hashes, root: checkpoint.root });
  return { index, leafHash: hash, checkpoint };
}

function refuse(expected: string, found: string): never {
  throw tlogProofRefusals.error('log-proof-malformed', { field: 'proof', expected, found });
}
