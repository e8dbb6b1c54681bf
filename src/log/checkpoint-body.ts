/** The text of checkpoints (C2SP tlog-checkpoint v1; TL-9): three lines that a log signs about itself. */

import { equalBytes, excerpt, fromBase64, toBase64, toHex } from '../../attestation/core/bytes.ts';
import { defineRefusals } from '../../attestation/core/refusal.ts';
import { EMPTY_ROOT, HASH_BYTES } from './merkle.ts';
import { parseUint64 } from './uint64.ts';

export const checkpointShapeRefusals = defineRefusals('malformed', {
  'log-checkpoint-malformed': {
    means: 'A signed note is not a checkpoint.',
    hint: 'Give the checkpoint of a log: three lines with origin, size and root before the signatures.',
  },
});

/** A state of a log. */
export interface TreeHead {
  readonly size: bigint;
  /** 32 bytes. */
  readonly root: Uint8Array;
}

/** What the text of a checkpoint claims. */
export interface CheckpointBody extends TreeHead {
  /** The name of the log. */
  readonly origin: string;
  /** Lines of other logs that ours never writes; nothing here acts on them. */
  readonly extensionLines: readonly string[];
}

/**
 * Reads the text of a checkpoint; nothing of it is trusted yet, and its root need not be possible at its size.
 *
 * @throws RefusalError `log-checkpoint-malformed`, `log-number-malformed`, `base64-malformed`
 */
export function readCheckpointLines(text: string): CheckpointBody {
  const [origin = '', size, root, ...rest] = text.split('\n');
  if (size === undefined || root === undefined || rest.pop() !== '' || rest.includes('') || origin === '') {
    refuse('checkpoint', 'lines with origin, size and root, none of them empty', excerpt(text));
  }
  const body = {
    origin,
    size: parseUint64(size, 'checkpoint.size'),
    root: fromBase64(root, 'checkpoint.root'),
    extensionLines: rest,
  };
  if (body.root.length !== HASH_BYTES) {
    refuse('checkpoint.root', `${HASH_BYTES} bytes`, `${body.root.length} bytes`);
  }
  return body;
}

/**
 * Reads the text of a checkpoint; nothing of it is trusted yet.
 *
 * @throws RefusalError as `readCheckpointLines`
 */
export function parseCheckpointBody(text: string): CheckpointBody {
  const body = readCheckpointLines(text);
  if (body.size === 0n && !equalBytes(body.root, EMPTY_ROOT)) {
    refuse('checkpoint.root', 'the root of the empty tree', toHex(body.root));
  }
  return body;
}

/** The text that is signed. */
export function formatCheckpointBody(origin: string, head: TreeHead): string {
  return `${origin}\n${head.size}\n${toBase64(head.root)}\n`;
}

function refuse(field: string, expected: string, found: string): never {
  throw checkpointShapeRefusals.error('log-checkpoint-malformed', { field, expected, found });
}
