/**
 * Judges for the transparency-log vectors. A judge takes one case and says what this implementation says; which judge
 * a file gets follows from its kind in the manifest, never from a case's name.
 */

import { fromBase64, fromHex, fromUtf8, toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { RefusalError } from '../../attestation/core/refusal.ts';
import { compareCheckpoints, openCheckpoint, parseCheckpointBody } from '../../src/log/checkpoint.ts';
import {
  leafHash,
  nodeHash,
  verifyConsistency,
  verifyInclusion,
  verifySubtreeConsistency,
  verifySubtreeInclusion,
} from '../../src/log/merkle.ts';
import { openNote } from '../../src/log/note.ts';
import { verifyEd25519Portably } from '../../src/log/signature.ts';
import {
  checkEntrySize,
  decodeEntryBundle,
  encodeEntryBundle,
  parseTilePath,
  partialTiles,
  tilePath,
  tileWidthAt,
} from '../../src/log/tiles.ts';
import { verifyTlogProof } from '../../src/log/tlog-proof.ts';
import { TreeBuilder } from '../../src/log/tree.ts';
import { formatVerifierKey, parseVerifierKey } from '../../src/log/verifier-key.ts';
import { verifyEd25519 } from '../../src/platform/ed25519.ts';

/** One case of a vector file: a bag of members that the judge of its kind knows. */
export type VectorCase = Readonly<Record<string, unknown>> & { readonly id: string; readonly expect: string };

/** `accept` and `reject` are verdicts; `unsupported` names what this implementation does not do. */
export interface Judgement {
  readonly verdict: 'accept' | 'reject' | 'unsupported';
  readonly detail: string;
}

type Judge = (vector: VectorCase) => void | Promise<void>;

const ACCEPTED: Judgement = { verdict: 'accept', detail: 'accepted' };

class Disagreement extends Error {}
class Unsupported extends Error {}

/** @returns undefined for a kind of vector that this area does not judge */
export function judgeFor(file: string): ((vector: VectorCase) => Promise<Judgement>) | undefined {
  const judge = JUDGES[file.replace(/\.json$/, '')];
  if (judge === undefined) return undefined;
  return async (vector) => {
    try {
      await judge(vector);
      return ACCEPTED;
    } catch (error) {
      if (error instanceof RefusalError) {
        return { verdict: 'reject', detail: (error as RefusalError).refusal.code };
      }
      if (error instanceof Disagreement) return { verdict: 'reject', detail: error.message };
      if (error instanceof Unsupported) return { verdict: 'unsupported', detail: error.message };
      throw error;
    }
  };
}

function text(vector: VectorCase, member: string): string {
  const value = vector[member];
  if (typeof value !== 'string') throw new TypeError(`${vector.id}: no text ${member}`);
  return value;
}

function texts(vector: VectorCase, member: string): readonly string[] {
  const value = vector[member];
  if (!Array.isArray(value)) throw new TypeError(`${vector.id}: no list ${member}`);
  return value as string[];
}

const number = (vector: VectorCase, member: string): bigint => BigInt(text(vector, member));
const bytes = (vector: VectorCase, member: string): Uint8Array => fromBase64(text(vector, member), member);
const hashes = (vector: VectorCase): Uint8Array[] =>
  texts(vector, 'proof').map((hash) => fromBase64(hash, 'proof'));
const keys = (vector: VectorCase) => texts(vector, 'vkeys').map((key) => parseVerifierKey(key, 'vkey'));

function agree(found: unknown, expected: unknown, what: string): void {
  if (expected !== undefined && JSON.stringify(found) !== JSON.stringify(expected)) {
    throw new Disagreement(`${what}: ${JSON.stringify(found)} instead of ${JSON.stringify(expected)}`);
  }
}

const JUDGES: Readonly<Record<string, Judge>> = {
  'merkle/inclusion': (vector) => {
    verifyInclusion({
      leafHash: bytes(vector, 'leaf_hash'),
      index: number(vector, 'index'),
      size: number(vector, 'size'),
      proof: hashes(vector),
      root: bytes(vector, 'root'),
    });
  },
  'merkle/subtree-inclusion': (vector) => {
    verifySubtreeInclusion({
      leafHash: bytes(vector, 'leaf_hash'),
      index: number(vector, 'index'),
      start: number(vector, 'start'),
      end: number(vector, 'end'),
      proof: hashes(vector),
      root: bytes(vector, 'root'),
    });
  },
  'merkle/consistency': (vector) => {
    verifyConsistency({
      firstSize: number(vector, 'size1'),
      firstRoot: bytes(vector, 'root1'),
      secondSize: number(vector, 'size2'),
      secondRoot: bytes(vector, 'root2'),
      proof: hashes(vector),
    });
  },
  'merkle/subtree-consistency': (vector) => {
    verifySubtreeConsistency({
      start: number(vector, 'start'),
      end: number(vector, 'end'),
      root: bytes(vector, 'root1'),
      secondSize: number(vector, 'size'),
      secondRoot: bytes(vector, 'root2'),
      proof: hashes(vector),
    });
  },
  'merkle/roots': (vector) => {
    if (vector['node_children_hex'] !== undefined) {
      const [left, right] = texts(vector, 'node_children_hex').map((hex) => fromHex(hex, 'child'));
      agree(toHex(nodeHash(left!, right!)), vector['root_hex'], 'node');
      return;
    }
    const tree = new TreeBuilder();
    for (const leaf of texts(vector, 'leaves_hex')) tree.append(fromHex(leaf, 'leaf'));
    agree(toHex(tree.root()), vector['root_hex'], 'root');
  },
  'note/notes': async (vector) => {
    const note =
      vector['note_base64'] === undefined
        ? text(vector, 'note')
        : fromUtf8(bytes(vector, 'note_base64'), 'note');
    const opened = await openNote(note, keys(vector));
    agree(
      opened.signedBy.map((key) => `${key.name}+${toHex(key.identifier)}`),
      vector['verified'],
      'keys',
    );
    agree(opened.text, vector['text'], 'text');
  },
  'note/vkeys': (vector) => {
    agree(formatVerifierKey(parseVerifierKey(text(vector, 'vkey'), 'vkey')), text(vector, 'vkey'), 'vkey');
  },
  'note/identity-statements': async (vector) => {
    // These open as notes, and must not open as checkpoints of any origin.
    const note = text(vector, 'note');
    const { text: body } = await openNote(note, keys(vector));
    const origin = body.slice(0, body.indexOf('\n'));
    const taken = await openCheckpoint(note, { origin, keys: keys(vector) }).then(
      () => true,
      () => false,
    );
    agree(taken, false, 'taken for a checkpoint');
  },
  'checkpoint/checkpoints': async (vector) => {
    const trust = { origin: text(vector, 'origin'), keys: keys(vector) };
    const checkpoint = await openCheckpoint(text(vector, 'note'), trust);
    agree(checkpoint.extensionLines.length, vector['extensions'], 'extension lines');
  },
  'checkpoint/bodies': (vector) => {
    parseCheckpointBody(text(vector, 'body'));
  },
  'checkpoint/pairs': async (vector) => {
    const open = async (member: string) => {
      const note = text(vector, member);
      return await openCheckpoint(note, { origin: note.slice(0, note.indexOf('\n')), keys: keys(vector) });
    };
    const proof = vector['proof'] === undefined ? [] : hashes(vector);
    const finding = compareCheckpoints(await open('a'), await open('b'), proof);
    if (finding !== vector['finding']) throw new Error(`${vector.id}: found ${finding}`);
    if (finding !== 'same' && finding !== 'consistent') throw new Disagreement(finding);
  },
  'proof/tlog-proofs': async (vector) => {
    const [log, ...others] = text(vector, 'policy').trimEnd().split('\n');
    const key = parseVerifierKey(log?.split(' ')[1] ?? '', 'policy.log');
    await verifyTlogProof(bytes(vector, 'entry'), text(vector, 'proof'), { origin: key.name, keys: [key] });
    if (others.join('\n') !== 'quorum none') throw new Unsupported('a quorum of witnesses');
  },
  'tiles/paths': (vector) => {
    const tile = parseTilePath(text(vector, 'path'));
    agree(tile.level.toString(), vector['level'], 'level');
    agree(tile.index.toString(), vector['index'], 'index');
    agree(tile.width === 256 ? 0 : tile.width, vector['width'], 'width');
    agree(tilePath(tile), text(vector, 'path'), 'path');
  },
  'tiles/sizes': (vector) => {
    const size = number(vector, 'size');
    const levels: Record<string, unknown>[] = [];
    for (let level = 0; size >> BigInt(8 * level) > 0n; level += 1) {
      const full = size >> BigInt(8 * level + 8);
      const partial = partialTiles(size).find((tile) => tile.level === level);
      agree(tileWidthAt(size, level, full), partial?.width ?? 0, 'width');
      levels.push({
        level: level.toString(),
        full_tiles: full.toString(),
        ...(partial === undefined ? {} : { partial: tilePath(partial) }),
      });
    }
    agree(levels, vector['tiles'], 'tiles');
    const [last] = partialTiles(size);
    if (last?.level === 0) {
      agree(tilePath({ ...last, level: 'entries' }), vector['partial_bundle'], 'partial bundle');
    }
  },
  'tiles/bundles': (vector) => {
    if (vector['bundle'] !== undefined) {
      const entries = decodeEntryBundle(bytes(vector, 'bundle'));
      agree(
        entries.map((entry) => toHex(entry)),
        texts(vector, 'entries').map((entry) => toHex(fromBase64(entry, 'entry'))),
        'entries',
      );
      agree(toHex(encodeEntryBundle(entries)), toHex(bytes(vector, 'bundle')), 'bundle');
      return;
    }
    checkEntrySize(new Uint8Array(Number(vector['entry_length'])));
  },
  'tiles/real-ct-leaves': (vector) => {
    agree(toHex(leafHash(bytes(vector, 'leaf'))), toHex(bytes(vector, 'leaf_hash')), 'leaf hash');
  },
  'ed25519/edge-cases': async (vector) => {
    const key = fromHex(text(vector, 'key'), 'key');
    const signature = fromHex(text(vector, 'sig'), 'sig');
    const message = toUtf8(text(vector, 'msg'));
    const verdict = await verifyEd25519Portably(key, message, signature);
    // The two implementations of this project must never part ways.
    if (verdict !== verifyEd25519(key, message, signature)) throw new Error(`${vector.id}: two verdicts`);
    agree(verdict, true, 'signature');
  },
};
