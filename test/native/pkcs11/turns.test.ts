import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

import { Turns } from '../../../native/pkcs11/turns.ts';

describe('turns', () => {
  it('let as many in as there is room, and one who needs all alone', async () => {
    const turns = new Turns(2);
    const seen: string[] = [];
    const enter = async (name: string, share: number): Promise<void> => {
      await turns.enter(share);
      seen.push(name);
    };
    const entering = [enter('a', 1), enter('b', 1), enter('alone', 2), enter('c', 1)];
    await Promise.all(entering.slice(0, 2));
    expect(seen).toEqual(['a', 'b']);
    turns.leave(1);
    await Promise.resolve();
    expect(seen).toEqual(['a', 'b']);
    turns.leave(1);
    await entering[2];
    expect(seen).toEqual(['a', 'b', 'alone']);
    turns.leave(2);
    await entering[3];
    expect(seen).toEqual(['a', 'b', 'alone', 'c']);
  });

  it('never give out more than there is, forget nobody, and keep the order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 30 }), async (shares) => {
        const turns = new Turns(3);
        const order: number[] = [];
        let taken = 0;
        await Promise.all(
          shares.map(async (share, place) => {
            await turns.enter(share);
            order.push(place);
            taken += share;
            expect(taken).toBeLessThanOrEqual(3);
            await Promise.resolve();
            taken -= share;
            turns.leave(share);
          }),
        );
        expect(order).toEqual(shares.map((_, place) => place));
      }),
    );
  });
});
