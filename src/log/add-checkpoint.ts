/** The message of C2SP tlog-witness, `add-checkpoint` (WT-10): written by logs, read by witnesses. */

import { excerpt, fromBase64, fromUtf8, toBase64, toUtf8 } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { readCheckpointLines, type CheckpointBody } from './checkpoint-body.ts';
import { HASH_BYTES } from './merkle.ts';
import { parseNote } from './note.ts';
import { parseUint64 } from './uint64.ts';

export const addCheckpointRefusals = defineRefusals('malformed', {
  'witness-request-malformed': {
    means: 'A text does not ask a witness to cosign a checkpoint.',
    hint: 'Send "old" and a size, the hashes of the consistency proof, an empty line and the signed checkpoint.',
  },
});

export const MAX_ADD_CHECKPOINT_BYTES = 65_536;
const MAX_PROOF_LINES = 63;

/** What a log asks for; nothing of it is verified. */
export interface AddCheckpoint {
  /** The size from which the proof leads to the checkpoint. */
  readonly oldSize: bigint;
  /** Consistency proof of RFC 9162. */
  readonly proof: readonly Uint8Array[];
  /** The signed note of the checkpoint, verbatim. */
  readonly note: string;
}

export function formatAddCheckpoint({ oldSize, proof, note }: AddCheckpoint): Uint8Array {
  const hashes = proof.map((hash) => `${toBase64(hash)}\n`).join('');
  return toUtf8(`old ${oldSize}\n${hashes}\n${note}`);
}

/**
 * Reads a request, its checkpoint included.
 *
 * @param bytes from the network
 * @throws RefusalError `witness-request-malformed`, `log-note-malformed`, `log-checkpoint-malformed`,
 *   `log-number-malformed`, `base64-malformed`, `utf8-malformed`
 */
export function parseAddCheckpoint(bytes: Uint8Array): AddCheckpoint & { readonly body: CheckpointBody } {
  if (bytes.length > MAX_ADD_CHECKPOINT_BYTES) refuse(`at most ${MAX_ADD_CHECKPOINT_BYTES} bytes`, 'more');
  const text = fromUtf8(bytes, 'request');
  const blank = text.indexOf('\n\n');
  const [first = '', ...lines] = text.slice(0, Math.max(blank, 0)).split('\n');
  if (!first.startsWith('old ')) refuse('a line that begins with "old "', excerpt(text));
  if (lines.length > MAX_PROOF_LINES) refuse(`at most ${MAX_PROOF_LINES} hashes`, `${lines.length}`);
  const oldSize = parseUint64(first.slice('old '.length), 'request.old');
  const proof = lines.map((line, i) => fromBase64(line, `request.proof[${i}]`));
  const wrong = proof.find((hash) => hash.length !== HASH_BYTES);
  if (wrong !== undefined) refuse(`hashes of ${HASH_BYTES} bytes`, `${wrong.length} bytes`);
  const note = text.slice(blank + 2);
  return { oldSize, proof, note, body: readCheckpointLines(parseNote(note).text) };
}

function refuse(expected: string, found: string): never {
  throw addCheckpointRefusals.error('witness-request-malformed', { field: 'request', expected, found });
}
