/**
 * A program for tests: seals a folder so that it can be gone on with, and ends itself by SIGKILL when so many bytes
 * are done.
 */

import { modelKeyMemory, MODEL, SALT, signer } from './fixed-key.ts';
import { sealFolder } from '../../src/sealed/writer.ts';

const [source = '', target = '', killedAt = ''] = process.argv.slice(2);
await sealFolder(source, target, {
  model: MODEL,
  modelKey: modelKeyMemory(),
  signers: [signer],
  onBegin: () => Promise.resolve(),
  fillRandom: (bytes) => {
    bytes.set(SALT);
  },
  onProgress: ({ doneBytes }) => {
    if (doneBytes >= Number(killedAt)) process.kill(process.pid, 'SIGKILL');
  },
});
