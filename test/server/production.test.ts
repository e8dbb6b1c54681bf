import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { toBase64 } from '../../attestation/core/bytes.ts';
import { enrol } from '../../src/agent/key-release.ts';
import { decodeEntry, statementEntry } from '../../src/governance/entries.ts';
import { makeStatement, signByEach } from '../../src/governance/statements.ts';
import { createHttpClient } from '../../src/platform/http-client.ts';
import { createLogger } from '../../src/platform/logging.ts';
import type { ServerProfile } from '../../src/platform/server-profile.ts';
import { openServerHome } from '../../src/server/home.ts';
import { createServerHome } from '../../src/server/new-home.ts';
import { startServer } from '../../src/server/serve.ts';
import { makeEnrollableTpm } from '../support/enrolled-tpm.ts';
import {
  examplePredicates,
  exampleTrustRoot,
  predicateOf,
  signerOf,
  signers,
} from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { newHome, PASSPHRASE, TestClock } from '../support/release-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';
import { TransitService } from '../support/transit-service.ts';
import { vaultCustody } from '../support/vault-custody.ts';

const ORIGIN = 'release.example';
const SLOW = 120_000;
const clock = new TestClock();
let vault: TransitService;

beforeAll(async () => {
  vault = await TransitService.start();
});

afterAll(() => vault.close());

async function productionHome() {
  const changes = { mode: 'production', origin: ORIGIN, trustRoot: exampleTrustRoot('production') } as const;
  const custody = await vaultCustody(vault);
  return newHome(join(await temporaryFolder(), 'home'), clock, { ...changes, custody });
}

describe('a production server', () => {
  it(
    'is not made with wrapping keys in a file, nor without custody (KC-7, KC-80)',
    { timeout: SLOW },
    async () => {
      const home = await productionHome();
      const { custody: _, ...without } = home;
      expect(await refusalCodeAsync(() => createServerHome(without))).toBe('key-file-custody-in-production');
      vault.setTrouble({ request: 0, kind: { status: 503 } });
      expect(await refusalCodeAsync(() => createServerHome(home))).toBe('custody-unavailable');
      vault.setTrouble(undefined);
    },
  );

  it(
    'keeps model keys by Vault, logs that, and takes no simulated TPM (KC-90, W9, RP-7)',
    { timeout: SLOW },
    async () => {
      const wanted = await productionHome();
      const identity = await createServerHome(wanted);
      const home = await openServerHome(wanted.path, PASSPHRASE, clock);
      const running = await startServer(home, createLogger('silent'), clock);
      try {
        await home.modelKeys.put('ab'.repeat(32), new Uint8Array(32).fill(7));
        expect(await home.modelKeys.withKey('ab'.repeat(32), ([first]) => first)).toBe(7);
        const [, second] = await home.log.published.entries(0n, home.log.published.size);
        expect(decodeEntry(second!)).toMatchObject({ type: 'custody', event: 'opened', provider: 'vault' });

        const tpm = await makeEnrollableTpm();
        const machines = [{ name: 'rack-1', endorsementKeyDigest: tpm.endorsementKeyDigest }];
        const terms = { ...examplePredicates.accreditation, machines, endsAt: clock.start + 1_000_000 };
        const statement = makeStatement('lab-accreditation/v1', predicateOf('lab-accreditation/v1', terms));
        for (const envelope of await signByEach(statement, [signers.bert, signers.cleo])) {
          await home.governance.record((_state, at) => statementEntry(at, envelope));
        }
        expect(home.governance.state.labs.has('lab-one')).toBe(true);
        const { authorityCertificate } = identity;
        const client = createHttpClient({ address: running.address, authorityCertificate });
        const profile: ServerProfile = {
          version: 1,
          address: running.address,
          authorityCertificate,
          origin: ORIGIN,
          mode: 'production',
          logKey: identity.logKey,
          bundleSigners: [toBase64(signers.anna.publicKey)],
        };
        const agent = {
          client,
          profile,
          lab: 'lab-one',
          labSigner: signerOf('lab one'),
          purpose: 'red-teaming',
          clock,
          witnesses: 'not-required',
        } as const;
        const before = home.log.published.size;
        const code = await refusalCodeAsync(() => enrol(agent, tpm.enrolling));
        expect(code).toBe('path-untrusted');
        expect(home.log.published.size).toBe(before);
        client.close();
      } finally {
        await running.close();
      }
    },
  );

  it('does not start with a key store that is older than its log (KC-91)', { timeout: SLOW }, async () => {
    const wanted = await productionHome();
    await createServerHome(wanted);
    await (await openServerHome(wanted.path, PASSPHRASE, clock)).closeAll();
    const keys = vault.keys.get('weightgate');
    keys?.versions.set((keys.latest += 1), randomBytes(32));
    await (await openServerHome(wanted.path, PASSPHRASE, clock)).closeAll();
    const database = new DatabaseSync(join(wanted.path, 'model-keys.sqlite'));
    database.exec('DELETE FROM custody_events');
    database.close();
    const opening = openServerHome(wanted.path, PASSPHRASE, clock);
    expect(await refusalCodeAsync(async () => (await opening).closeAll())).toBe('home-custody-behind');
  });
});
