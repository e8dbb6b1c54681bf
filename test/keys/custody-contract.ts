/**
 * The contract of every custody (docs/spec/key-custody.md section 5), as tests. A provider passes it with a fixture that
 * keeps its wrapping keys as in production and can make each step that leaves the process fail.
 */

import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import type { KeyCustody, ModelKeyContext } from '../../src/keys/custody.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

/**
 * A step that fails: `before` it has done anything, or `after` it is done and only its answer is lost, as when the
 * process ends there.
 */
export interface CustodyFault {
  /** Counted from 0, from when the fault is set. */
  readonly step: number;
  readonly moment: 'before' | 'after';
}

/** Two places for wrapping keys, each with one key in it. */
export interface CustodyFixture {
  /** Opens the first place, as a process that was started anew would; what was opened before stays open. */
  open(): Promise<KeyCustody>;
  /** Opens the second place: other wrapping keys, whatever their names. */
  openForeign(): Promise<KeyCustody>;
  /** Makes one later step of the first place fail, whoever has it open; undefined takes that back. */
  setFault(fault: CustodyFault | undefined): void;
  /** Whether the fault that was set last has happened. */
  faultHappened(): boolean;
  /** Removes both places. */
  remove(): Promise<void>;
}

export interface CustodyContractOptions {
  readonly provider: string;
  makeFixture(): Promise<CustodyFixture>;
  /** How many of the bytes of a wrapped key are damaged, spread over its length; a slow provider takes fewer. */
  readonly damagedBytes: number;
  /** Random inputs to `unwrap`. */
  readonly randomInputs: number;
}

const context: ModelKeyContext = {
  manifestDigest: 'ab'.repeat(32),
  origin: 'example.org/evaluation',
  mode: 'evaluation',
};
const otherContexts: readonly ModelKeyContext[] = [
  { ...context, manifestDigest: 'cd'.repeat(32) },
  { ...context, origin: 'other.example/evaluation' },
  { ...context, mode: 'production' },
];

/** Beyond any sequence of steps that one call takes. */
const MAX_STEPS = 40;

function modelKey(fill: number): Uint8Array {
  return new Uint8Array(32).fill(fill);
}

/** Declares the tests. */
export function describeCustodyContract(options: CustodyContractOptions): void {
  let fixture: CustodyFixture;
  let opened: KeyCustody[];

  const open = async (): Promise<KeyCustody> => {
    const custody = await fixture.open();
    opened.push(custody);
    return custody;
  };

  beforeEach(async () => {
    opened = [];
    fixture = await options.makeFixture();
  });

  afterEach(async () => {
    fixture.setFault(undefined);
    for (const custody of opened) await custody.close();
    await fixture.remove();
  });

  describe(`custody by ${options.provider}: wrapping`, () => {
    it('gives back what it wrapped, also when it was opened again (KC-12)', async () => {
      const first = await open();
      const wrapped = await first.wrap(modelKey(7), context);
      expect(await first.unwrap(wrapped, context)).toEqual(modelKey(7));
      await first.close();
      expect(await (await open()).unwrap(wrapped, context)).toEqual(modelKey(7));
    });

    it('never wraps alike, and holds no key in the open (KC-12)', async () => {
      const custody = await open();
      const planted = new TextEncoder().encode('planted-key-planted-key-planted!');
      const first = await custody.wrap(planted, context);
      const second = await custody.wrap(planted, context);
      expect(Buffer.from(first).equals(second)).toBe(false);
      expect(Buffer.from(first).includes('planted')).toBe(false);
      expect(new TextDecoder().decode(planted)).toBe('planted-key-planted-key-planted!');
    });

    it('opens for its own model, origin and mode alone (KC-9)', async () => {
      const custody = await open();
      const wrapped = await custody.wrap(modelKey(7), context);
      for (const other of otherContexts) {
        expect(await refusalCodeAsync(() => custody.unwrap(wrapped, other))).toBe('key-wrapped-damaged');
        expect(await refusalCodeAsync(() => custody.rewrap(wrapped, other))).toBe('key-wrapped-damaged');
      }
    });

    it('refuses a model key of another length', async () => {
      const custody = await open();
      for (const length of [0, 31, 33]) {
        const code = await refusalCodeAsync(() => custody.wrap(new Uint8Array(length), context));
        expect(code).toBe('key-length-wrong');
      }
    });

    it('opens nothing that was damaged in any region, cut or lengthened (KC-13)', async () => {
      const custody = await open();
      const good = await custody.wrap(modelKey(7), context);
      const step = Math.max(1, Math.floor(good.length / options.damagedBytes));
      for (let at = 0; at < good.length; at += step) {
        const damaged = Uint8Array.from(good);
        damaged[at] = (damaged[at] ?? 0) ^ 1;
        expect(await refusalCodeAsync(() => custody.unwrap(damaged, context)), `byte ${at}`).not.toBe(
          'accepted',
        );
      }
      for (const length of [0, 1, good.length >> 1, good.length - 1]) {
        const code = await refusalCodeAsync(() => custody.unwrap(good.subarray(0, length), context));
        expect(code, `cut to ${length}`).not.toBe('accepted');
      }
      const longer = Uint8Array.from([...good, 0]);
      expect(await refusalCodeAsync(() => custody.unwrap(longer, context))).not.toBe('accepted');
      expect(await custody.unwrap(good, context)).toEqual(modelKey(7));
    });

    it('answers any bytes with a refusal (KC-13)', async () => {
      const custody = await open();
      await fc.assert(
        fc.asyncProperty(fc.uint8Array({ maxLength: 160 }), async (bytes) => {
          expect(await refusalCodeAsync(() => custody.unwrap(bytes, context))).not.toBe('accepted');
        }),
        { numRuns: options.randomInputs },
      );
    });

    it('opens nothing that another custody wrapped (KC-13)', async () => {
      const foreign = await fixture.openForeign();
      opened.push(foreign);
      const wrapped = await foreign.wrap(modelKey(7), context);
      const custody = await open();
      expect(['key-wrapped-damaged', 'wrapping-key-unknown']).toContain(
        await refusalCodeAsync(() => custody.unwrap(wrapped, context)),
      );
    });
  });

  describe(`custody by ${options.provider}: rotation`, () => {
    it('wraps under the new key after a rotation, and unwraps what was wrapped before (KC-14)', async () => {
      const custody = await open();
      const before = await custody.wrappingKeys();
      const old = await custody.wrap(modelKey(7), context);
      expect([before.older, custody.isCurrent(old), custody.wrappingKeyOf(old)]).toEqual([
        [],
        true,
        before.current,
      ]);
      await custody.rotate();
      const after = await custody.wrappingKeys();
      expect(after.current).not.toBe(before.current);
      expect(after.older).toEqual([before.current]);
      expect(custody.isCurrent(old)).toBe(false);
      expect(await custody.unwrap(old, context)).toEqual(modelKey(7));
      const fresh = await custody.wrap(modelKey(8), context);
      expect(custody.wrappingKeyOf(fresh)).toBe(after.current);
    });

    it('rewraps under the new key and leaves what it was given usable (KC-15)', async () => {
      const custody = await open();
      const old = await custody.wrap(modelKey(7), context);
      await custody.rotate();
      const renewed = await custody.rewrap(old, context);
      expect(custody.isCurrent(renewed)).toBe(true);
      expect(await custody.unwrap(renewed, context)).toEqual(modelKey(7));
      expect(await custody.unwrap(old, context)).toEqual(modelKey(7));
    });

    it('finds what another process rotated and retired (KC-16)', async () => {
      const server = await open();
      const old = await server.wrap(modelKey(7), context);
      const command = await open();
      await command.rotate();
      const renewed = await command.rewrap(old, context);
      expect(await server.unwrap(renewed, context)).toEqual(modelKey(7));
      await command.retire(new Set([command.wrappingKeyOf(renewed)]));
      const later = await server.wrap(modelKey(8), context);
      expect(command.wrappingKeyOf(later)).toBe((await command.wrappingKeys()).current);
      expect(await command.unwrap(later, context)).toEqual(modelKey(8));
    });

    it('retires older keys for good, and none that is needed (KC-17)', async () => {
      const custody = await open();
      const old = await custody.wrap(modelKey(7), context);
      const oldest = custody.wrappingKeyOf(old);
      await custody.rotate();
      await custody.rotate();
      const before = await custody.wrappingKeys();
      expect(before.older).toHaveLength(2);
      expect(await refusalCodeAsync(() => custody.retire(new Set([oldest])))).toBe('wrapping-key-in-use');
      expect(await custody.unwrap(old, context)).toEqual(modelKey(7));
      expect(await custody.wrappingKeys()).toEqual(before);
      const renewed = await custody.rewrap(old, context);
      const retired = await custody.retire(new Set([before.current]));
      expect(new Set(retired)).toEqual(new Set(before.older));
      expect(await custody.wrappingKeys()).toEqual({ current: before.current, older: [] });
      const anew = await open();
      expect(await refusalCodeAsync(() => anew.unwrap(old, context))).toBe('wrapping-key-unknown');
      expect(await anew.unwrap(renewed, context)).toEqual(modelKey(7));
      expect(await anew.retire(new Set())).toEqual([]);
    });

    it('serves many at once, also while it rotates (KC-16)', async () => {
      const custody = await open();
      const numbers = Array.from({ length: 8 }, (_, index) => index + 1);
      const wrapped = await Promise.all(numbers.map((number) => custody.wrap(modelKey(number), context)));
      const rotating = custody.rotate();
      const keys = await Promise.all(wrapped.map((one) => custody.unwrap(one, context)));
      const during = await custody.wrap(modelKey(99), context);
      await rotating;
      expect(keys).toEqual(numbers.map(modelKey));
      expect(await custody.unwrap(during, context)).toEqual(modelKey(99));
    });

    it('does nothing any more when it is closed, and can be closed again (KC-18)', async () => {
      const custody = await open();
      const wrapped = await custody.wrap(modelKey(7), context);
      await custody.close();
      await custody.close();
      const calls: (() => Promise<unknown>)[] = [
        () => custody.wrap(modelKey(7), context),
        () => custody.unwrap(wrapped, context),
        () => custody.rewrap(wrapped, context),
        () => custody.rotate(),
        () => custody.retire(new Set()),
        () => custody.wrappingKeys(),
      ];
      for (const call of calls) expect(await refusalCodeAsync(call)).toBe('custody-closed');
    });
  });

  describe(`custody by ${options.provider}: faults`, () => {
    /** Runs a call with each of its steps failing in turn; `check` then looks at the place with a fresh eye. */
    async function withEachFault(
      call: (custody: KeyCustody, wrapped: Uint8Array) => Promise<unknown>,
      check: (custody: KeyCustody, wrapped: Uint8Array) => Promise<void>,
    ): Promise<void> {
      for (const moment of ['before', 'after'] as const) {
        for (let step = 0; ; step += 1) {
          expect(step).toBeLessThan(MAX_STEPS);
          const custody = await open();
          const wrapped = await custody.wrap(modelKey(7), context);
          fixture.setFault({ step, moment });
          const code = await refusalCodeAsync(() => call(custody, wrapped));
          const happened = fixture.faultHappened();
          fixture.setFault(undefined);
          await check(await open(), wrapped);
          if (!happened) {
            expect(code).toBe('accepted');
            break;
          }
        }
      }
    }

    async function stillWorks(custody: KeyCustody, wrapped: Uint8Array): Promise<void> {
      expect(await custody.unwrap(wrapped, context)).toEqual(modelKey(7));
      const renewed = await custody.rewrap(wrapped, context);
      expect(custody.wrappingKeyOf(renewed)).toBe((await custody.wrappingKeys()).current);
      expect(await custody.unwrap(renewed, context)).toEqual(modelKey(7));
    }

    it('loses nothing when a step of wrapping, unwrapping or rewrapping fails (KC-19)', async () => {
      await withEachFault((custody) => custody.wrap(modelKey(8), context), stillWorks);
      await withEachFault((custody, wrapped) => custody.unwrap(wrapped, context), stillWorks);
      await withEachFault((custody, wrapped) => custody.rewrap(wrapped, context), stillWorks);
    });

    it('loses nothing when a step of a rotation fails, and can rotate again (KC-19)', async () => {
      await withEachFault(
        (custody) => custody.rotate(),
        async (custody, wrapped) => {
          await stillWorks(custody, wrapped);
          const before = await custody.wrappingKeys();
          await custody.rotate();
          expect((await custody.wrappingKeys()).current).not.toBe(before.current);
          await stillWorks(custody, wrapped);
          await custody.retire(new Set());
        },
      );
    });

    it('keeps the current key when a step of a retirement fails, and can retire again (KC-19)', async () => {
      await withEachFault(
        async (custody) => {
          await custody.rotate();
          await custody.retire(new Set());
        },
        async (custody) => {
          const { current } = await custody.wrappingKeys();
          const kept = await custody.wrap(modelKey(9), context);
          await custody.retire(new Set([current]));
          expect(await custody.wrappingKeys()).toEqual({ current, older: [] });
          expect(await custody.unwrap(kept, context)).toEqual(modelKey(9));
        },
      );
    });
  });
}
