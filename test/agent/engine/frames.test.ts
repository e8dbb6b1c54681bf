import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { concatBytes } from '../../../attestation/core/bytes.ts';
import { RefusalError } from '../../../attestation/core/refusal.ts';
import { encodeFrame, FrameReader } from '../../../src/agent/engine/frames.ts';
import { fromEngineSchema } from '../../../src/agent/engine/protocol.ts';
import { readShape } from '../../../src/platform/shape.ts';

const pieces = (bytes: Uint8Array, length: number): Uint8Array[] =>
  Array.from({ length: Math.ceil(bytes.length / length) }, (_, i) =>
    bytes.subarray(i * length, (i + 1) * length),
  );

describe('frames', () => {
  it('GD-35: arrive whole in whatever pieces', () => {
    fc.assert(
      fc.property(
        fc.array(fc.jsonValue(), { maxLength: 5 }),
        fc.integer({ min: 1, max: 20 }),
        (values, length) => {
          const reader = new FrameReader(1_000_000);
          const bytes = concatBytes(...values.map(encodeFrame));
          const read = pieces(bytes, length).flatMap((piece) => reader.push(piece));
          expect(read).toEqual(JSON.parse(JSON.stringify(values)));
        },
      ),
    );
  });

  it('GD-35: are refused by their length before anything is kept', () => {
    const reader = new FrameReader(10);
    expect(() => reader.push(Uint8Array.of(0xff, 0xff, 0xff, 0xff))).toThrow(/engine-frame/);
    expect(() => new FrameReader(10).push(encodeFrame('longer than ten'))).toThrow(/engine-frame/);
  });

  it('GD-35: of random bytes give refusals and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (random) => {
        const length = new Uint8Array(4);
        new DataView(length.buffer).setUint32(0, random.length);
        try {
          const [value] = new FrameReader(100).push(concatBytes(length, random));
          readShape(fromEngineSchema, value, 'engine message');
        } catch (error) {
          expect(error).toBeInstanceOf(RefusalError);
        }
      }),
    );
  });
});
