/** A witness that cosigns a log as fast as it can and prints each cosigned checkpoint, until it is killed. */

import { writeSync } from 'node:fs';

import { Witness } from '../../src/log/witness.ts';
import { openWitnessState } from '../../src/log/witness-state.ts';
import { testWitnessSigner, WitnessedLog } from './witness-log.ts';

const [path = '', origin = ''] = process.argv.slice(2);
const log = new WitnessedLog(origin);
const state = openWitnessState(path);
const witness = new Witness({
  signers: [testWitnessSigner('witness.example')],
  logs: [{ origin, keys: [log.signer.key] }],
  state,
  now: () => Math.floor(Date.now() / 1000),
});
let size = Number(state.find(origin)?.size ?? 0n);
for (;;) {
  const answer = await witness.addCheckpoint(await log.request(size, size + 1));
  if (answer.status !== 200) throw new Error(`${answer.status} ${answer.body}`);
  size += 1;
  writeSync(1, `${size}\n`);
}
