/**
 * The custodies of a home, by `custody.yaml`: the current one, and while keys move to it the one before
 * (docs/spec/key-custody.md section 10). Paths and addresses in it are the operator's; which custodies there are is
 * changed by commands alone.
 */

import { join } from 'node:path';

import { z } from 'zod';

import type { JsonValue } from '../../attestation/core/canonical-json.ts';
import { isRefusal } from '../../attestation/core/refusal.ts';
import { formatConfiguration, readConfiguration } from '../platform/configuration.ts';
import { writeFileDurably } from '../platform/files.ts';
import { CUSTODY_PROVIDERS } from '../governance/entries.ts';
import type { CustodyProviderName, KeyCustody } from './custody.ts';
import type { CustodyHome } from './custody-provider.ts';
import { providerOf } from './custody-providers.ts';
import { keyUsageRefusals } from './refusals.ts';

const FILE = 'custody.yaml';
const OWNER_ONLY = 0o600;
const COMMENT = `Who holds the wrapping keys of this server's model keys.
Addresses and paths may be changed here; another custody is chosen with: weightgate custody migrate`;

const custodySchema = z.strictObject({
  /** Never given out twice in one home. */
  number: z.int().min(1).max(1_000_000),
  provider: z.enum(CUSTODY_PROVIDERS),
  settings: z.custom<JsonValue>((value) => value !== undefined),
});

const custodiesSchema = z.strictObject({
  version: z.literal(1),
  /** Wraps. */
  current: custodySchema,
  /** Still unwraps what has not moved yet. */
  former: custodySchema.nullable(),
});
export type CustodyConfiguration = z.infer<typeof custodySchema>;
export type CustodiesDocument = z.infer<typeof custodiesSchema>;

/** What every evaluation server had before it could choose. */
export const FILE_CUSTODY: CustodyConfiguration = {
  number: 1,
  provider: 'file',
  settings: { file: 'wrapping-keys.json', keyring: 'keyring.json' },
};

export interface NumberedCustody extends CustodyConfiguration {
  readonly custody: KeyCustody;
}

/**
 * @returns the file of an evaluation home of before that has none
 * @throws RefusalError `custody-not-chosen`, `configuration-yaml`, `shape-mismatch`, `file-*`
 */
export async function readCustodies({
  folder,
  mode,
}: Pick<CustodyHome, 'folder' | 'mode'>): Promise<CustodiesDocument> {
  try {
    return await readConfiguration(join(folder, FILE), custodiesSchema);
  } catch (cause) {
    if (!isRefusal(cause) || cause.refusal.code !== 'file-not-found') throw cause;
    if (mode === 'evaluation') return { version: 1, current: FILE_CUSTODY, former: null };
    const facts = { field: join(folder, FILE), expected: 'a custody (KC-80)', found: 'no such file' };
    throw keyUsageRefusals.error('custody-not-chosen', facts, { cause });
  }
}

/** Durable when it returns. @throws RefusalError `file-not-written` */
export async function writeCustodies(folder: string, document: CustodiesDocument): Promise<void> {
  await writeFileDurably(join(folder, FILE), formatConfiguration(COMMENT, document), OWNER_ONLY);
}

/** @throws RefusalError `custody-not-chosen`, and as `CustodyProvider.open` */
export async function openCustody(
  configuration: CustodyConfiguration,
  home: CustodyHome,
): Promise<NumberedCustody> {
  const { provider, settings } = configuration;
  return { ...configuration, custody: await requireProvider(provider).open(settings, home) };
}

/** Makes the first wrapping key where there is none. @throws RefusalError as `CustodyProvider.prepare` */
export async function prepareCustody(configuration: CustodyConfiguration, home: CustodyHome): Promise<void> {
  await requireProvider(configuration.provider).prepare(configuration.settings, home);
}

function requireProvider(name: CustodyProviderName) {
  const provider = providerOf(name);
  if (provider !== undefined) return provider;
  throw keyUsageRefusals.error('custody-not-chosen', {
    field: 'custody.provider',
    expected: 'a custody that this release has',
    found: name,
  });
}

/** The custodies of one home, open. What another process chooses meanwhile is found when it is needed. */
export class HomeCustodies {
  private readonly home: CustodyHome;
  /** All that were opened, by number; also those that are not in use any more, which may still be asked. */
  private readonly opened = new Map<number, NumberedCustody>();
  private currentNumber = 0;

  private constructor(home: CustodyHome) {
    this.home = home;
  }

  /** @throws RefusalError as `readCustodies` and `openCustody` */
  static async open(home: CustodyHome): Promise<HomeCustodies> {
    const custodies = new HomeCustodies(home);
    try {
      await custodies.reload();
      return custodies;
    } catch (error) {
      await custodies.close();
      throw error;
    }
  }

  get current(): NumberedCustody {
    const current = this.opened.get(this.currentNumber);
    if (current === undefined) throw new Error('no custody is open');
    return current;
  }

  /** @throws RefusalError `custody-not-chosen` for a number that the home does not have, and as `reload` */
  async byNumber(number: number): Promise<NumberedCustody> {
    if (!this.opened.has(number)) await this.reload();
    const found = this.opened.get(number);
    if (found !== undefined) return found;
    throw keyUsageRefusals.error('custody-not-chosen', {
      field: join(this.home.folder, FILE),
      expected: `custody ${number}, under which a model key is stored (KC-81)`,
      found: `custody ${this.currentNumber}`,
    });
  }

  /** Looks at the file again. @throws RefusalError as `open` */
  async reload(): Promise<void> {
    const { current, former } = await readCustodies(this.home);
    for (const configuration of former === null ? [current] : [current, former]) {
      if (this.opened.has(configuration.number)) continue;
      this.opened.set(configuration.number, await openCustody(configuration, this.home));
    }
    this.currentNumber = current.number;
  }

  async close(): Promise<void> {
    for (const { custody } of this.opened.values()) await custody.close();
  }
}
