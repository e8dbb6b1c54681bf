/**
 * Collateral that is kept: what the store has, else what somebody further away has, checked before it is stored and
 * again whenever it is used. So a store can never hold more than a cache does: nothing in it is believed for being there.
 */

import { readCertificateList } from '../../../attestation/core/certificate-list.ts';
import { defineRefusals, isRefusal } from '../../../attestation/core/refusal.ts';
import { systemClock, type Clock } from '../clock.ts';
import type { DirectoryStore, StoredCollateral } from './directory-store.ts';
import type { CollateralItem, CollateralSource } from './source.ts';

export const keptCollateralRefusals = defineRefusals('inauthentic', {
  'collateral-older': {
    means: 'A revocation list is older than the one that is kept.',
    hint: 'Somebody may be holding back revocations: find out why an old list is handed out.',
  },
});

/**
 * Whether an item is genuine and in force at a time. `chain` is what {@link CollateralItem} `chain` of the same line and
 * signer holds, undefined for a chain itself.
 *
 * @throws RefusalError when it is not
 */
export type CollateralCheck = (
  item: CollateralItem,
  bytes: Uint8Array,
  context: { readonly time: number; readonly chain: Uint8Array | undefined },
) => Promise<void>;

export interface KeptCollateralOptions {
  readonly store: DirectoryStore;
  /** Where to ask for what is not kept; without it nothing is asked for. */
  readonly upstream?: CollateralSource;
  readonly check: CollateralCheck;
  readonly clock?: Clock;
}

/** After this time a revocation list is asked for again, though the old one is in force. */
const REVOCATION_LIST_SECONDS = 24 * 60 * 60;

export class KeptCollateral implements CollateralSource {
  private readonly store: DirectoryStore;
  private readonly upstream: CollateralSource | undefined;
  private readonly check: CollateralCheck;
  private readonly clock: Clock;

  constructor({ store, upstream, check, clock = systemClock }: KeptCollateralOptions) {
    this.store = store;
    this.upstream = upstream;
    this.check = check;
    this.clock = clock;
  }

  /**
   * @throws RefusalError of the source further away, where nothing that is in force is kept; and what the check of an
   *   item throws
   */
  async find(item: CollateralItem): Promise<Uint8Array | undefined> {
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
  async keep(item: CollateralItem, bytes: Uint8Array): Promise<void> {
    await this.verify(item, bytes);
    const kept = await this.store.find(item);
    if (item.kind === 'crl' && kept !== undefined) refuseOlder(bytes, kept.bytes);
    await this.store.put(item, bytes);
  }

  /** @param isOptional whether there is something to fall back on when nobody answers */
  private async fetch(item: CollateralItem, isOptional: boolean): Promise<Uint8Array | undefined> {
    try {
      const bytes = await this.upstream?.find(item);
      if (bytes !== undefined) await this.keep(item, bytes);
      return bytes;
    } catch (error) {
      if (isOptional && isRefusal(error)) return undefined;
      throw error;
    }
  }

  private async verify(item: CollateralItem, bytes: Uint8Array): Promise<void> {
    const chain = item.kind === 'chain' ? undefined : await this.find(chainOf(item));
    await this.check(item, bytes, { time: this.clock.posixSeconds(), chain });
  }

  private async failureOf(item: CollateralItem, bytes: Uint8Array): Promise<Error | undefined> {
    try {
      await this.verify(item, bytes);
      return undefined;
    } catch (error) {
      if (isRefusal(error)) return error;
      throw error;
    }
  }

  private isDue(item: CollateralItem, { storedAt }: StoredCollateral): boolean {
    if (item.kind !== 'crl') return false;
    const age = this.clock.posixSeconds() - storedAt;
    return age < 0 || age > REVOCATION_LIST_SECONDS;
  }
}

function chainOf(item: CollateralItem): CollateralItem {
  return { kind: 'chain', line: item.line, signer: item.kind === 'vcek' ? 'vcek' : item.signer };
}

/** A list that was revoked from cannot come back: its number only rises. */
function refuseOlder(bytes: Uint8Array, kept: Uint8Array): void {
  const [offered, known] = [readCertificateList(bytes, 'crl').number, numberOf(kept)];
  if (known === undefined || offered >= known) return;
  throw keptCollateralRefusals.error('collateral-older', {
    field: 'crl.cRLNumber',
    expected: `at least ${known}`,
    found: String(offered),
  });
}

/** Undefined for a file that is no list any more: such a one may be replaced. */
function numberOf(bytes: Uint8Array): number | undefined {
  try {
    return readCertificateList(bytes, 'crl').number;
  } catch (error) {
    if (isRefusal(error)) return undefined;
    throw error;
  }
}
