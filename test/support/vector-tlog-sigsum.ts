/**
 * The judge of Sigsum's offline proofs (proof/): another text over the same trees, checkpoints and cosignatures. No part of
 * the product reads them, so what reads them stands here.
 */

import { sha256 } from '@noble/hashes/sha2.js';

import { concatBytes, fromHex, toBase64, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { formatCheckpointBody } from '../../src/log/checkpoint-body.ts';
import { cosignedText } from '../../src/log/checkpoint-signature.ts';
import { leafHash, verifyInclusion } from '../../src/log/merkle.ts';
import { verifyEd25519Portably } from '../../src/log/signature.ts';
import { parseUint64 } from '../../src/log/uint64.ts';
import { agree, demand, text, type JudgeRow, type VectorCase } from './vector-tlog-case.ts';

const NUL = Uint8Array.of(0);

/** Lines `name=value` of one block, in the order that the format fixes; `*` stands for any number. */
function readBlock(block: string, names: readonly string[]): readonly (readonly string[])[] {
  const lines = block.split('\n');
  const found = names.map((name) => {
    const values: string[] = [];
    const bare = name.replace('*', '');
    while (lines[0]?.startsWith(`${bare}=`) === true) {
      values.push((lines.shift() ?? '').slice(bare.length + 1));
      if (name === bare) break;
    }
    demand(name !== bare || values.length === 1, `no line ${bare}`);
    return values;
  });
  demand(lines.join('') === '', `another line: ${lines.join('')}`);
  return found;
}

async function judgeSigsum(vector: VectorCase): Promise<void> {
  const blocks = text(vector, 'proof').split('\n\n');
  demand(blocks.length === 3, 'three blocks');
  const [leafBlock = '', headBlock = '', pathBlock = ''] = blocks;
  const [[version] = [], [log] = [], [leafLine = ''] = []] = readBlock(leafBlock, ['version', 'log', 'leaf']);
  agree(version, '2', 'version');
  const logKey = fromHex(text(vector, 'log_key'), 'log_key');
  agree(log, toHex(sha256(logKey)), 'log');
  const leaf = await verifyLeaf(vector, leafLine);
  const head = await verifyHead(vector, headBlock, logKey);
  const [[index = ''] = [], nodes = []] = readBlock(pathBlock, ['leaf_index', 'node_hash*']);
  const proof = nodes.map((hash) => fromHex(hash, 'node_hash'));
  verifyInclusion({ leafHash: leafHash(leaf), index: parseUint64(index, 'leaf_index'), ...head, proof });
}

/** @returns the entry: checksum, signature and hash of the submitter's key */
async function verifyLeaf(vector: VectorCase, line: string): Promise<Uint8Array> {
  const checksum = sha256(fromHex(text(vector, 'message_hex'), 'message'));
  const submitter = fromHex(text(vector, 'submit_key'), 'submit_key');
  const [keyHash, signatureText = ''] = line.split(' ');
  agree(keyHash, toHex(sha256(submitter)), 'the key hash');
  const signature = fromHex(signatureText, 'leaf.signature');
  const message = concatBytes(toUtf8('sigsum.org/v1/tree-leaf'), NUL, checksum);
  demand(await verifyEd25519Portably(submitter, message, signature), 'the signature of the leaf');
  return concatBytes(checksum, signature, sha256(submitter));
}

async function verifyHead(
  vector: VectorCase,
  block: string,
  logKey: Uint8Array,
): Promise<{ readonly size: bigint; readonly root: Uint8Array }> {
  const [[size = ''] = [], [root = ''] = [], [signature = ''] = [], cosignatures = []] = readBlock(block, [
    'size',
    'root_hash',
    'signature',
    'cosignature*',
  ]);
  const head = { size: parseUint64(size, 'size'), root: fromHex(root, 'root_hash') };
  const body = formatCheckpointBody(`sigsum.org/v1/tree/${toHex(sha256(logKey))}`, head);
  const holds = await verifyEd25519Portably(logKey, toUtf8(body), fromHex(signature, 'signature'));
  demand(holds, `the signature of the log over ${toBase64(head.root)}`);
  if (vector['witness_key'] !== undefined) await verifyWitness(vector, cosignatures, body);
  return head;
}

async function verifyWitness(vector: VectorCase, lines: readonly string[], body: string): Promise<void> {
  const key = fromHex(text(vector, 'witness_key'), 'witness_key');
  for (const line of lines) {
    const [hash, time = '', signature = ''] = line.split(' ');
    if (hash !== toHex(sha256(key))) continue;
    const message = cosignedText(body, parseUint64(time, 'cosignature.time'));
    demand(await verifyEd25519Portably(key, message, fromHex(signature, 'cosignature')), 'the cosignature');
    return;
  }
  demand(false, 'a cosignature of the witness');
}

export const SIGSUM_JUDGES: readonly JudgeRow[] = [
  { members: ['log_key', 'submit_key', 'proof'], judge: judgeSigsum },
];
