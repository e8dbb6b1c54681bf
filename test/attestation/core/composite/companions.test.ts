import { createHash } from 'node:crypto';

import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { toHex } from '../../../../attestation/core/bytes.ts';
import {
  computeCompanionsDigest,
  NO_COMPANIONS,
  type Companion,
} from '../../../../attestation/core/composite/companions.ts';
import { refusalCode } from '../../../support/refusal-code.ts';

const bytes = (length: number, fill: number): Uint8Array => new Uint8Array(length).fill(fill);
const companion = (changes: Partial<Companion> = {}): Companion => ({
  deviceClass: 'nvidia-gpu',
  identity: bytes(32, 1),
  evidenceDigest: bytes(32, 2),
  ...changes,
});

/** The digest by hand: text, padding, number, rows. */
function byHand(...rows: readonly (readonly [string, Uint8Array, Uint8Array])[]): string {
  const padded = (text: string): Buffer => Buffer.concat([Buffer.from(text)], 32);
  const count = Buffer.alloc(4);
  count.writeUInt32BE(rows.length);
  const parts = rows.flatMap(([name, identity, digest]) => [
    padded(`weightgate/device/${name}/v1`),
    identity,
    digest,
  ]);
  const table = Buffer.concat([padded('weightgate/companions/v1'), count, ...parts]);
  return createHash('sha256').update(table).digest('hex');
}

describe('the companions digest', () => {
  it('CM-2, CM-3: is that of the declared table, also of the empty one', () => {
    expect(toHex(NO_COMPANIONS)).toBe(byHand());
    expect(toHex(computeCompanionsDigest([companion()]))).toBe(
      byHand(['nvidia-gpu', bytes(32, 1), bytes(32, 2)]),
    );
    const tpm = companion({ deviceClass: 'tpm', identity: bytes(32, 0) });
    expect(toHex(computeCompanionsDigest([tpm, companion()]))).toBe(
      byHand(['nvidia-gpu', bytes(32, 1), bytes(32, 2)], ['tpm', bytes(32, 0), bytes(32, 2)]),
    );
  });

  it('CM-2: does not depend on the order, and on everything else', () => {
    const digest32 = fc.uint8Array({ minLength: 32, maxLength: 32 });
    const some = fc.record({
      deviceClass: fc.constantFrom('tpm', 'nvidia-gpu', 'nvswitch'),
      identity: digest32,
      evidenceDigest: digest32,
    });
    const list = fc.array(some, { minLength: 1, maxLength: 12 });
    fc.assert(
      fc.property(list, fc.nat(), fc.constantFrom('identity', 'evidenceDigest'), (companions, at, member) => {
        const digest = toHex(computeCompanionsDigest(companions));
        expect(toHex(computeCompanionsDigest(companions.toReversed()))).toBe(digest);
        const changed = companions.map((one, i) => {
          if (i !== at % companions.length) return one;
          return { ...one, [member]: one[member].map((byte, j) => (j === at % 32 ? byte ^ 1 : byte)) };
        });
        expect(toHex(computeCompanionsDigest(changed))).not.toBe(digest);
        expect(toHex(computeCompanionsDigest(companions.slice(1)))).not.toBe(digest);
      }),
      { numRuns: 50 },
    );
  });

  it('CM-2: members of other lengths and more than 31 companions are refused', () => {
    for (const short of [{ identity: bytes(31, 1) }, { evidenceDigest: bytes(33, 1) }]) {
      expect(refusalCode(() => computeCompanionsDigest([companion(short)]))).toBe('layout-value');
    }
    const many = Array.from({ length: 32 }, (_, i) => companion({ identity: bytes(32, i) }));
    expect(refusalCode(() => computeCompanionsDigest(many))).toBe('layout-value');
    expect(computeCompanionsDigest(many.slice(1))).toHaveLength(32);
  });
});
