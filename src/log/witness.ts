/**
 * A witness (C2SP tlog-witness; WT-10 to WT-15), free of HTTP: judges what logs ask for and cosigns what extends the record. It
 * needs no secret of a log and stores one state for each, so that anybody can run one.
 */

import { toHex, toUtf8 } from '../../attestation/core/bytes.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import type { Ed25519Signer } from '../platform/ed25519.ts';
import { parseAddCheckpoint } from './add-checkpoint.ts';
import type { LogTrust } from './checkpoint.ts';
import { cosignedText, LOG_LINES, writeCosignature } from './checkpoint-signature.ts';
import type { CheckpointBody, TreeHead } from './checkpoint-body.ts';
import { EMPTY_ROOT, verifyConsistency } from './merkle.ts';
import { formatSignatureLine, openNote, type OpenedNote } from './note.ts';
import { sha256 } from './sha256.ts';
import { makeVerifierKey, type VerifierKey } from './verifier-key.ts';

/** The newest state of a log that a witness has cosigned. */
export interface WitnessRecord extends TreeHead {
  /** The log's own lines and the cosignature. */
  readonly note: string;
  /** POSIX seconds of the cosignature. */
  readonly time: bigint;
}

/** Where records are kept. Every method throws a RefusalError only; a write that fails leaves open whether it happened. */
export interface WitnessState {
  find(origin: string): WitnessRecord | undefined;
  /**
   * Replaces the record of a log, durably when it returns.
   *
   * @param sizeBefore of the record that is replaced; undefined where there is none
   * @throws RefusalError `witness-state-moved` when the record is another, `witness-state-failed`
   */
  advance(origin: string, sizeBefore: bigint | undefined, record: WitnessRecord): void;
}

/** Signs as a witness. The private key stays with the signer. */
export interface WitnessSigner {
  readonly key: VerifierKey;
  /** @param text of the note; @returns the payload of the line */
  cosign(text: string, time: bigint): Promise<Uint8Array>;
}

/** @param name of the key; of this role alone @throws RefusalError `log-key-malformed` */
export function ed25519WitnessSigner(name: string, signer: Ed25519Signer): WitnessSigner {
  return {
    key: makeVerifierKey(name, 'ed25519-cosignature', signer.publicKey),
    cosign: async (text, time) => {
      const signature = await signer.sign(cosignedText(text, time));
      return writeCosignature({ time, signature }, 'ed25519-cosignature');
    },
  };
}

/** The answers of C2SP tlog-witness to `add-checkpoint`; 503 is ours (WT-12). */
export interface WitnessAnswer {
  readonly status: 200 | 400 | 403 | 404 | 409 | 422 | 503;
  readonly contentType: string;
  readonly body: string;
}

const SIZE_MEDIA_TYPE = 'text/x.tlog.size';
const TEXT_MEDIA_TYPE = 'text/plain; charset=utf-8';

export interface WitnessOptions {
  readonly signers: readonly WitnessSigner[];
  /** From the operator of the witness; one for each origin. */
  readonly logs: readonly LogTrust[];
  readonly state: WitnessState;
  /** POSIX seconds. */
  readonly now: () => number;
}

export class Witness {
  private readonly options: WitnessOptions;
  private readonly logs: ReadonlyMap<string, LogTrust>;
  /** The last request for each origin; the next one waits for it (WT-11). */
  private readonly turns = new Map<string, Promise<unknown>>();
  private stopped = false;

  constructor(options: WitnessOptions) {
    this.options = options;
    this.logs = new Map(options.logs.map((log) => [log.origin, log]));
  }

  /** The answer to a request. Never rejects for what a request says. @param body from the network */
  async addCheckpoint(body: Uint8Array): Promise<WitnessAnswer> {
    let request: ReturnType<typeof parseAddCheckpoint>;
    try {
      request = parseAddCheckpoint(body);
    } catch (error) {
      return refusalAnswer(400, error);
    }
    const log = this.logs.get(request.body.origin);
    if (log === undefined) return textAnswer(404, 'unknown log');
    return await this.inTurn(log.origin, () => this.judge(log, request));
  }

  /** The newest cosigned checkpoint (WT-15). @param digest SHA-256 of the origin, in hex, from the network */
  monitoredCheckpoint(digest: string): string | undefined {
    const origin = [...this.logs.keys()].find((each) => toHex(sha256(toUtf8(each))) === digest);
    return origin === undefined ? undefined : this.options.state.find(origin)?.note;
  }

  private inTurn<T>(origin: string, work: () => Promise<T>): Promise<T> {
    const turn = (this.turns.get(origin) ?? Promise.resolve()).then(work, work);
    this.turns.set(origin, turn);
    return turn;
  }

  private async judge(
    log: LogTrust,
    { oldSize, proof, note, body }: ReturnType<typeof parseAddCheckpoint>,
  ): Promise<WitnessAnswer> {
    if (this.stopped) return textAnswer(503, 'this witness must be started again');
    let signed: OpenedNote;
    try {
      // Not as a checkpoint that is trusted: an empty tree with another root is inconsistent, and signed.
      signed = await openNote(note, log.keys, LOG_LINES);
    } catch (error) {
      return refusalAnswer(403, error);
    }
    if (oldSize > body.size) return textAnswer(400, 'old is larger than the checkpoint');
    const record = this.options.state.find(log.origin);
    const recorded = record?.size ?? 0n;
    if (oldSize !== recorded) return { status: 409, contentType: SIZE_MEDIA_TYPE, body: `${recorded}\n` };
    const inconsistency = consistencyFailure(record ?? { size: 0n, root: EMPTY_ROOT }, body, proof);
    if (inconsistency !== undefined) return inconsistency;
    return await this.cosign(signed, body, record);
  }

  /** The signatures leave this method, and the process, only when the record is durable. */
  private async cosign(
    { text, lines: logLines }: OpenedNote,
    body: CheckpointBody,
    record: WitnessRecord | undefined,
  ): Promise<WitnessAnswer> {
    const { signers, state, now } = this.options;
    const time = laterOf(BigInt(now()), record?.time ?? 1n);
    const lines = await Promise.all(
      signers.map(async (signer) => formatSignatureLine(signer.key, await signer.cosign(text, time))),
    );
    const ownLines = logLines.map(({ key, signature }) => formatSignatureLine(key, signature));
    const cosigned = `${text}\n${[...ownLines, ...lines].join('')}`;
    try {
      state.advance(body.origin, record?.size, { size: body.size, root: body.root, note: cosigned, time });
    } catch (error) {
      this.stopped = true;
      return refusalAnswer(503, error);
    }
    return textAnswer(200, lines.join('').trimEnd());
  }
}

const laterOf = (left: bigint, right: bigint): bigint => (left > right ? left : right);

function consistencyFailure(
  from: TreeHead,
  to: TreeHead,
  proof: readonly Uint8Array[],
): WitnessAnswer | undefined {
  try {
    verifyConsistency({
      firstSize: from.size,
      firstRoot: from.root,
      secondSize: to.size,
      secondRoot: to.root,
      proof,
    });
    return undefined;
  } catch (error) {
    return refusalAnswer(422, error);
  }
}

function refusalAnswer(status: WitnessAnswer['status'], error: unknown): WitnessAnswer {
  if (isRefusal(error)) return textAnswer(status, error.refusal.code);
  throw error;
}

function textAnswer(status: WitnessAnswer['status'], line: string): WitnessAnswer {
  return { status, contentType: TEXT_MEDIA_TYPE, body: `${line}\n` };
}
