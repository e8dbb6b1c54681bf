/** How a kind of custody is made and opened for the home of a server. */

import type { z } from 'zod';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import type { Mode } from '../governance/fields.ts';
import { readShape } from '../platform/shape.ts';
import type { CustodyProviderName, KeyCustody } from './custody.ts';

/** For whom a custody is opened. */
export interface CustodyHome {
  /** Paths in settings are relative to it. */
  readonly folder: string;
  readonly mode: Mode;
  readonly origin: string;
  /** Opens the keyring of the home. */
  readonly passphrase: string;
}

export interface CustodyProvider<Settings> {
  readonly name: CustodyProviderName;
  /** What the operator writes into the home. No secret stands in it: at most the path of one. */
  readonly settings: z.ZodType<Settings>;
  /**
   * Makes sure that there is a current wrapping key: makes the first one where there is none, and changes nothing where
   * there is one.
   *
   * @throws RefusalError `custody-*`, and those of the provider
   */
  prepare(settings: Settings, home: CustodyHome): Promise<void>;
  /** @throws RefusalError `custody-*`, and those of the provider */
  open(settings: Settings, home: CustodyHome): Promise<KeyCustody>;
}

/** A provider whose settings are read from a document, whatever their shape. */
export interface ReadyProvider {
  readonly name: CustodyProviderName;
  /** @throws RefusalError `shape-mismatch` */
  check(settings: JsonValue): void;
  /** @throws RefusalError `shape-mismatch`, and as `CustodyProvider.prepare` */
  prepare(settings: JsonValue, home: CustodyHome): Promise<void>;
  /** @throws RefusalError `shape-mismatch`, and as `CustodyProvider.open` */
  open(settings: JsonValue, home: CustodyHome): Promise<KeyCustody>;
}

export function readyProvider<Settings>(provider: CustodyProvider<Settings>): ReadyProvider {
  const read = (settings: JsonValue): Settings =>
    readShape(provider.settings, settings, `custody.${provider.name}`);
  return {
    name: provider.name,
    check: (settings) => {
      read(settings);
    },
    prepare: async (settings, home) => {
      await provider.prepare(read(settings), home);
    },
    open: async (settings, home) => await provider.open(read(settings), home),
  };
}
