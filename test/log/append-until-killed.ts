/**
 * Appends to the log in the folder given until somebody kills it. Each answer goes to standard output in one
 * synchronous write, so that what the parent has read is exactly what was acknowledged.
 */

import { writeSync } from 'node:fs';

import { toUtf8 } from '../../attestation/core/bytes.ts';
import { openReleaseLog } from '../../src/log/log-folder.ts';
import { testSigner } from './test-signer.ts';

const [folder = '', round = ''] = process.argv.slice(2);
const signer = testSigner('log.example/evaluation');
const log = await openReleaseLog(
  folder,
  { origin: signer.key.name, signers: [signer] },
  { limits: { batchMilliseconds: 1, batchEntries: 8, waitingEntries: 1000 } },
);
writeSync(1, `${JSON.stringify({ checkpoint: log.published.checkpoint.note })}\n`);

let count = 0;
async function appendForever(): Promise<never> {
  for (;;) {
    const entry = `round ${round} entry ${(count += 1)}`;
    const { index, checkpoint } = await log.append(toUtf8(entry));
    writeSync(1, `${JSON.stringify({ index: index.toString(), entry, checkpoint })}\n`);
  }
}
await Promise.all(Array.from({ length: 12 }, appendForever));
