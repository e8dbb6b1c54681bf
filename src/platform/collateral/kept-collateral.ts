/**
 * Collateral that is kept: what the store has, else what somebody further away has, checked before it is stored and
 * again whenever it is used. So a store can never hold more than a cache does: nothing in it is believed for being there.
 */

import { equalBytes } from '../../../attestation/core/bytes.ts';
import { defineRefusals, isRefusal } from '../../../attestation/core/refusal.ts';
import { systemClock, type Clock } from '../clock.ts';
import type { DirectoryStore, StoredCollateral } from './directory-store.ts';
import type { AnyCollateralItem, CollateralItem, CollateralSource } from './source.ts';

export const keptCollateralRefusals = defineRefusals('inauthentic', {
  'collateral-older': {
    means: 'A piece of collateral is older than the one that is kept.',
    hint: 'Somebody may be holding back revocations or newer values: find out why an old one is handed out.',
  },
});

/** What a store has to know of one vendor's collateral. */
export interface CollateralCheck<Item extends AnyCollateralItem = CollateralItem> {
  /**
   * Demands that an item is what was asked for, genuine and in force at a time.
   *
   * @param context.find other items, such as the chain by which this one is checked
   * @throws RefusalError when it is not
   */
  verify(item: Item, bytes: Uint8Array, context: CheckContext<Item>): Promise<void>;

  /** After how long an item is asked for again, though the one that is kept is in force; undefined for never. */
  refreshSeconds(item: Item): number | undefined;

  /** Demands that what is offered may take the place of what is kept. @throws RefusalError `collateral-older` */
  demandNotOlder(item: Item, offered: Uint8Array, kept: Uint8Array): void;

  /**
   * What is stored besides an item that was checked: what it will be checked by again, and what it takes the place of.
   *
   * @param replaced undefined where nothing, or the same, was kept before
   */
  beside(item: Item, replaced: Uint8Array | undefined): readonly (readonly [Item, Uint8Array])[];
}

export interface CheckContext<Item extends AnyCollateralItem = CollateralItem> {
  /** POSIX seconds. */
  readonly time: number;
  readonly find: (item: Item) => Promise<Uint8Array | undefined>;
}

export interface KeptCollateralOptions<Item extends AnyCollateralItem = CollateralItem> {
  readonly store: DirectoryStore;
  /** Where to ask for what is not kept; without it nothing is asked for. */
  readonly upstream?: CollateralSource<Item>;
  readonly check: CollateralCheck<Item>;
  readonly clock?: Clock;
  /** Is told of every item that is stored, and of what it replaced: nothing is replaced silently. */
  readonly onKept?: (item: Item, keeping: Keeping) => void;
}

/** What became of the item that was kept before. */
export type Keeping = 'new' | 'same' | 'replaced';

export class KeptCollateral<
  Item extends AnyCollateralItem = CollateralItem,
> implements CollateralSource<Item> {
  private readonly store: DirectoryStore;
  private readonly upstream: CollateralSource<Item> | undefined;
  private readonly check: CollateralCheck<Item>;
  private readonly clock: Clock;
  private readonly onKept: (item: Item, keeping: Keeping) => void;

  constructor({ store, upstream, check, clock = systemClock, onKept }: KeptCollateralOptions<Item>) {
    this.store = store;
    this.upstream = upstream;
    this.check = check;
    this.clock = clock;
    this.onKept = onKept ?? (() => undefined);
  }

  /**
   * @throws RefusalError of the source further away, where nothing that is in force is kept; and what the check of an
   *   item throws
   */
  async find(item: Item): Promise<Uint8Array | undefined> {
    const kept = await this.store.find(item);
    const failure = kept === undefined ? undefined : await this.failureOf(item, kept.bytes);
    const usable = failure === undefined ? kept : undefined;
    if (usable !== undefined && !this.isDue(item, usable)) return usable.bytes;
    const fetched = await this.fetch(item, usable !== undefined);
    if (fetched === undefined && usable === undefined && failure !== undefined) throw failure;
    return fetched ?? usable?.bytes;
  }

  /**
   * Checks an item and stores it.
   *
   * @throws RefusalError what the check throws, `collateral-older`, `file-not-written`
   */
  async keep(item: Item, bytes: Uint8Array): Promise<Keeping> {
    await this.verify(item, bytes);
    const kept = await this.store.find(item);
    if (kept !== undefined) this.check.demandNotOlder(item, bytes, kept.bytes);
    const keeping = keepingOf(bytes, kept?.bytes);
    const replaced = keeping === 'replaced' ? kept?.bytes : undefined;
    for (const [other, content] of this.check.beside(item, replaced)) await this.store.put(other, content);
    await this.store.put(item, bytes);
    this.onKept(item, keeping);
    return keeping;
  }

  /** @param isOptional whether there is something to fall back on when nobody answers */
  private async fetch(item: Item, isOptional: boolean): Promise<Uint8Array | undefined> {
    try {
      const bytes = await this.upstream?.find(item);
      if (bytes !== undefined) await this.keep(item, bytes);
      return bytes;
    } catch (error) {
      if (isOptional && isRefusal(error)) return undefined;
      throw error;
    }
  }

  private async verify(item: Item, bytes: Uint8Array): Promise<void> {
    const time = this.clock.posixSeconds();
    await this.check.verify(item, bytes, { time, find: (other) => this.find(other) });
  }

  private async failureOf(item: Item, bytes: Uint8Array): Promise<Error | undefined> {
    try {
      await this.verify(item, bytes);
      return undefined;
    } catch (error) {
      if (isRefusal(error)) return error;
      throw error;
    }
  }

  private isDue(item: Item, { storedAt }: StoredCollateral): boolean {
    const refreshSeconds = this.check.refreshSeconds(item);
    if (refreshSeconds === undefined) return false;
    const age = this.clock.posixSeconds() - storedAt;
    return age < 0 || age > refreshSeconds;
  }
}

function keepingOf(bytes: Uint8Array, kept: Uint8Array | undefined): Keeping {
  if (kept === undefined) return 'new';
  return equalBytes(kept, bytes) ? 'same' : 'replaced';
}
