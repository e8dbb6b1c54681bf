/** The newest checkpoint of a log, held fast while its entries are read: a log grows while it is audited. */

import { fromUtf8 } from '../../attestation/core/bytes.ts';
import { openCheckpoint, type LogTrust, type VerifiedCheckpoint } from '../log/checkpoint.ts';
import { incompleteRefusals, type LogSource } from '../log/reader.ts';

const CHECKPOINT = 'checkpoint';

export interface NewestCheckpoint {
  readonly checkpoint: VerifiedCheckpoint;
  /** The same log, whose newest checkpoint is and stays this one. */
  readonly source: LogSource;
}

/** @throws RefusalError `log-incomplete`, and those of `openCheckpoint` */
export async function fetchNewest(source: LogSource, trust: LogTrust): Promise<NewestCheckpoint> {
  const note = await source(CHECKPOINT);
  if (note === undefined) {
    const facts = { field: CHECKPOINT, expected: 'a file of the log', found: 'nothing' };
    throw incompleteRefusals.error('log-incomplete', facts);
  }
  const checkpoint = await openCheckpoint(fromUtf8(note, CHECKPOINT), trust);
  return { checkpoint, source: async (path) => (path === CHECKPOINT ? note : await source(path)) };
}
