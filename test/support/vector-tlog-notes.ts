/** Judges of notes, checkpoints, cosignatures, policies and offline proofs (note/, checkpoint/, cosignature/, policy/, proof/). */

import { fromHex, fromUtf8, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { parseCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { compareCheckpoints, openCheckpoint } from '../../src/log/checkpoint.ts';
import {
  CHECKPOINT_LINES,
  isCosigner,
  readCosignature,
  writeCosignature,
} from '../../src/log/checkpoint-signature.ts';
import { openNote } from '../../src/log/note.ts';
import { verifyEd25519Portably } from '../../src/log/signature.ts';
import { verifyTlogProof } from '../../src/log/tlog-proof.ts';
import { formatVerifierKey, parseVerifierKey, signsNotes } from '../../src/log/verifier-key.ts';
import { isQuorumMet, parseWitnessPolicy } from '../../src/log/witness-policy.ts';
import {
  agree,
  bytes,
  demand,
  Disagreement,
  hashes,
  keys,
  text,
  type JudgeRow,
  type VectorCase,
} from './vector-tlog-case.ts';

/** Members that the file of notes and that of cosigned checkpoints share; the keys of a case say which lines count. */
async function judgeNote(vector: VectorCase): Promise<void> {
  const encoded = vector['note_base64'] !== undefined;
  const note = encoded ? fromUtf8(bytes(vector, 'note_base64'), 'note') : text(vector, 'note');
  const trusted = keys(vector);
  const opened = trusted.every(signsNotes)
    ? await openNote(note, trusted)
    : await openNote(note, trusted, CHECKPOINT_LINES);
  const found = opened.lines.map(({ key, signature }) => ({
    key: `${key.name}+${toHex(key.identifier)}`,
    ...(isCosigner(key) ? { timestamp: String(readCosignature(signature, key.algorithm).time) } : {}),
  }));
  const stated = vector['verified'] as readonly unknown[] | undefined;
  agree(
    stated?.some((one) => typeof one === 'string') === true ? found.map(({ key }) => key) : found,
    stated,
    'keys',
  );
  agree(opened.text, vector['text'], 'text');
  // A note of which nothing more is stated is one that no reader of checkpoints may take.
  if (stated !== undefined) return;
  const origin = opened.text.slice(0, opened.text.indexOf('\n'));
  const taken = await openCheckpoint(note, { origin, keys: trusted }).then(
    () => true,
    () => false,
  );
  demand(!taken, 'taken for a checkpoint');
}

function judgeTimestamp(vector: VectorCase): void {
  const line = bytes(vector, 'signature');
  const cosignature = readCosignature(line.subarray(4), 'ed25519-cosignature');
  agree(String(cosignature.time), vector['timestamp'], 'time');
  agree(toHex(writeCosignature(cosignature, 'ed25519-cosignature')), toHex(line.subarray(4)), 'payload');
}

function judgePolicy(vector: VectorCase): void {
  const policy = parseWitnessPolicy(text(vector, 'policy'), 'policy');
  const rows = vector['truth'] as readonly { readonly witnessed: readonly string[]; readonly met: boolean }[];
  for (const { witnessed, met } of rows) {
    agree(isQuorumMet(policy, new Set(witnessed)), met, witnessed.join(' '));
  }
}

async function judgePair(vector: VectorCase): Promise<void> {
  const open = async (member: string) => {
    const note = text(vector, member);
    return await openCheckpoint(note, { origin: note.slice(0, note.indexOf('\n')), keys: keys(vector) });
  };
  const proof = vector['proof'] === undefined ? [] : hashes(vector);
  const finding = compareCheckpoints(await open('a'), await open('b'), proof);
  if (finding !== vector['finding']) throw new Error(`${vector.id}: found ${finding}`);
  if (finding !== 'same' && finding !== 'consistent') throw new Disagreement(finding);
}

function judgeBody(vector: VectorCase): void {
  parseCheckpointBody(text(vector, 'body'));
}

function judgeVerifierKey(vector: VectorCase): void {
  agree(formatVerifierKey(parseVerifierKey(text(vector, 'vkey'), 'vkey')), text(vector, 'vkey'), 'vkey');
}

async function judgeCheckpoint(vector: VectorCase): Promise<void> {
  const trust = { origin: text(vector, 'origin'), keys: keys(vector) };
  const checkpoint = await openCheckpoint(text(vector, 'note'), trust);
  agree(checkpoint.extensionLines.length, vector['extensions'], 'extension lines');
}

async function judgeProof(vector: VectorCase): Promise<void> {
  const policy = parseWitnessPolicy(text(vector, 'policy'), 'policy');
  const keysOfLogs = policy.logs.map(({ key }) => key);
  const origin = keysOfLogs[0]?.name ?? '';
  const trust = { origin, keys: keysOfLogs, witnesses: policy };
  await verifyTlogProof(bytes(vector, 'entry'), text(vector, 'proof'), trust);
}

async function judgeEd25519(vector: VectorCase): Promise<void> {
  const key = fromHex(text(vector, 'key'), 'key');
  const signature = fromHex(text(vector, 'sig'), 'sig');
  const message = toUtf8(text(vector, 'msg'));
  const verdict = await verifyEd25519Portably(key, message, signature);
  agree(verdict, true, 'signature');
}

/** By the members of a case; the first row whose members are all there. */
export const NOTE_JUDGES: readonly JudgeRow[] = [
  { members: ['a', 'b', 'finding'], judge: judgePair },
  { members: ['body'], judge: judgeBody },
  { members: ['vkey'], judge: judgeVerifierKey },
  { members: ['note', 'origin', 'vkeys'], judge: judgeCheckpoint },
  { members: ['entry', 'policy', 'proof'], judge: judgeProof },
  { members: ['key', 'msg', 'sig'], judge: judgeEd25519 },
  { members: ['note', 'vkeys'], judge: judgeNote },
  { members: ['note_base64', 'vkeys'], judge: judgeNote },
  { members: ['policy'], judge: judgePolicy },
  { members: ['signature'], judge: judgeTimestamp },
];
