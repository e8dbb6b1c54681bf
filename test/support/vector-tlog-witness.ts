/** The judge of a witness: requests in order, with the answer to each (witness/). */

import { fromHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { ed25519 } from '@noble/curves/ed25519.js';
import { openNote } from '../../src/log/note.ts';
import { COSIGNATURE_LINES } from '../../src/log/checkpoint-signature.ts';
import { parseVerifierKey } from '../../src/log/verifier-key.ts';
import { ed25519WitnessSigner, Witness, type WitnessRecord } from '../../src/log/witness.ts';
import { agree, demand, type JudgeRow, type VectorCase } from './vector-tlog-case.ts';

interface Step {
  readonly name: string;
  readonly body: string;
  readonly status: number;
  /** Statuses of readers that are stricter, each as right. */
  readonly also?: readonly number[];
  readonly response?: string;
  readonly content_type?: string;
}

interface Log {
  readonly origin: string;
  readonly vkeys: readonly string[];
}

/** A key that nobody holds for anything else. */
const SECRET = fromHex('5a'.repeat(32), 'secret');
const NOW = 1_760_000_000;

function newWitness(logs: readonly Log[]): {
  readonly witness: Witness;
  readonly key: ReturnType<typeof signer>['key'];
} {
  const records = new Map<string, WitnessRecord>();
  const witnessSigner = signer();
  const witness = new Witness({
    signers: [witnessSigner],
    logs: logs.map(({ origin, vkeys }) => ({
      origin,
      keys: vkeys.map((each) => parseVerifierKey(each, 'vkey')),
    })),
    state: {
      find: (origin) => records.get(origin),
      advance: (origin, _sizeBefore, record) => void records.set(origin, record),
    },
    now: () => NOW,
  });
  return { witness, key: witnessSigner.key };
}

function signer() {
  return ed25519WitnessSigner('witness.example', {
    publicKey: ed25519.getPublicKey(SECRET),
    sign: (message) => Promise.resolve(ed25519.sign(message, SECRET)),
  });
}

async function judgeWitness(vector: VectorCase): Promise<void> {
  const { witness, key } = newWitness(vector['logs'] as readonly Log[]);
  for (const step of vector['steps'] as readonly Step[]) {
    const answer = await witness.addCheckpoint(toUtf8(step.body));
    const statuses = [step.status, ...(step.also ?? [])];
    demand(statuses.includes(answer.status), `${step.name}: ${answer.status} ${answer.body.trim()}`);
    if (answer.status === step.status) {
      agree(answer.body, step.response, `${step.name}: body`);
      agree(answer.contentType, step.content_type, `${step.name}: type`);
    }
    if (answer.status !== 200) continue;
    const note = step.body.slice(step.body.indexOf('\n\n') + 2);
    const { lines } = await openNote(`${note}${answer.body}`, [key], COSIGNATURE_LINES);
    agree(lines.length, 1, `${step.name}: cosignatures`);
  }
}

export const WITNESS_JUDGES: readonly JudgeRow[] = [{ members: ['logs', 'steps'], judge: judgeWitness }];
