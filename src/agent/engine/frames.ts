/** Frames between agent and engine (docs/spec/guard.md, GD-35): a length of 4 bytes, big-endian, and so many bytes of JSON. */

import { concatBytes, fromUtf8, toUtf8 } from '../../../attestation/core/bytes.ts';
import { defineRefusals } from '../../../attestation/core/refusal.ts';

export const frameRefusals = defineRefusals('malformed', {
  'engine-frame': {
    means: 'A frame between agent and engine is longer than allowed, or is not JSON.',
    hint: 'Agent and engine must be of the same release.',
  },
});

const LENGTH_BYTES = 4;

export function encodeFrame(message: unknown): Uint8Array {
  const body = toUtf8(JSON.stringify(message));
  const length = new Uint8Array(LENGTH_BYTES);
  new DataView(length.buffer).setUint32(0, body.length);
  return concatBytes(length, body);
}

/** Takes bytes in any pieces and gives the values of whole frames. Holds no more than one frame. */
export class FrameReader {
  private readonly maxBytes: number;
  private pieces: Uint8Array[] = [];
  private buffered = 0;

  /** @param maxBytes of one frame; the length is checked before anything is kept for it */
  constructor(maxBytes: number) {
    this.maxBytes = maxBytes;
  }

  /** @throws RefusalError `engine-frame`, `utf8-malformed` */
  push(piece: Uint8Array): readonly unknown[] {
    this.pieces.push(piece);
    this.buffered += piece.length;
    const values: unknown[] = [];
    for (let body = this.takeBody(); body !== undefined; body = this.takeBody()) values.push(parse(body));
    return values;
  }

  private takeBody(): Uint8Array | undefined {
    if (this.buffered < LENGTH_BYTES) return undefined;
    const length = this.nextLength();
    if (length > this.maxBytes) refuse(`at most ${this.maxBytes} bytes`, `${length} bytes`);
    if (this.buffered < LENGTH_BYTES + length) return undefined;
    const joined = concatBytes(...this.pieces);
    const end = LENGTH_BYTES + length;
    this.pieces = [joined.subarray(end)];
    this.buffered = joined.length - end;
    return joined.subarray(LENGTH_BYTES, end);
  }

  private nextLength(): number {
    const [first] = this.pieces;
    if (first === undefined || first.length < LENGTH_BYTES) this.pieces = [concatBytes(...this.pieces)];
    const bytes = this.pieces[0] ?? new Uint8Array(LENGTH_BYTES);
    return new DataView(bytes.buffer, bytes.byteOffset, LENGTH_BYTES).getUint32(0);
  }
}

function parse(body: Uint8Array): unknown {
  const text = fromUtf8(body, 'frame');
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return refuse('JSON', 'text that does not parse');
  }
}

function refuse(expected: string, found: string): never {
  throw frameRefusals.error('engine-frame', { field: 'frame', expected, found });
}
