/** Two servers on one log in PostgreSQL, each with a home of its own. */

import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import { createAdditionalHome } from '../../src/server/additional-home.ts';
import { openServerHome } from '../../src/server/home.ts';
import { createServerHome } from '../../src/server/new-home.ts';
import { makeEnrollableTpm } from '../support/enrolled-tpm.ts';
import { examplePredicates, signers } from '../support/governance.ts';
import { postgresMissing, TestPostgres } from '../support/postgres.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import {
  manifestDigest,
  MODEL_KEY,
  newHome,
  PASSPHRASE,
  SUBJECT,
  TestClock,
  TestServer,
} from '../support/release-server.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const listen = { host: '127.0.0.1', port: 0 };

describe.skipIf(postgresMissing)(`servers on one log ${postgresMissing ?? ''}`, () => {
  let cluster: TestPostgres;
  beforeAll(async () => {
    cluster = await TestPostgres.start();
  });
  afterAll(async () => {
    await cluster.remove();
  });

  async function twoServers(): Promise<readonly [TestServer, TestServer]> {
    const folder = await temporaryFolder();
    const [first, second] = [join(folder, 'first'), join(folder, 'second')];
    const clock = new TestClock();
    const database = await cluster.createDatabase();
    const identity = await createServerHome(newHome(first, clock, { database }));
    const tpm = await makeEnrollableTpm();
    await writeFile(join(first, 'anchors/simulated/tpm/vendor.pem'), tpm.vendorCertificate);
    const one = await TestServer.run(first, clock, identity, tpm);
    await one.stateAll();
    await one.home.modelKeys.put(manifestDigest, MODEL_KEY);
    await createAdditionalHome({ from: first, path: second, listen });
    return [one, await TestServer.run(second, clock, identity, tpm)];
  }

  it('TL-41, TL-46 to TL-48: what one logs is in force at the other; a TPM is known by one of them', async () => {
    const [one, other] = await twoServers();
    const releaseBy = (server: TestServer): Promise<{ readonly modelKey: Uint8Array }> =>
      requestRelease(server.agent(), SUBJECT, [one.tpm.attester]);
    await enrol(one.agent(), one.tpm.enrolling);
    expect(await refusalCodeAsync(() => enrol(other.agent(), one.tpm.enrolling))).toBe('enrolment-elsewhere');
    expect(await refusalCodeAsync(() => releaseBy(other))).toBe('tpm-not-enrolled');
    await enrol(one.agent(), one.tpm.enrolling);
    expect((await releaseBy(one)).modelKey).toEqual(MODEL_KEY);
    await other.state('hold/v1', examplePredicates.hold, [signers.anna]);
    expect(await refusalCodeAsync(() => releaseBy(one))).toBe('floor-held');
    await other.client.get('/v1/server');
    expect(other.home.log.published.checkpoint.note).toBe(one.home.log.published.checkpoint.note);
    expect(other.home.governance.state).toEqual(one.home.governance.state);
    const types = (await other.entries()).map(({ type }) => type).slice(-6);
    expect(types).toEqual(['enrolment', 'decision', 'enrolment', 'decision', 'statement', 'decision']);
  }, 120_000);

  it('TL-22: a log of one server has no other, and a further home is not made over one that is there', async () => {
    const folder = await temporaryFolder();
    const [alone, second] = [join(folder, 'alone'), join(folder, 'second')];
    const clock = new TestClock();
    await createServerHome(newHome(alone, clock));
    const add = (path: string): Promise<void> => createAdditionalHome({ from: alone, path, listen });
    expect(await refusalCodeAsync(() => add(second))).toBe('home-not-shared');
    expect(await refusalCodeAsync(() => add(alone))).toBe('home-exists');
    const yaml = join(alone, 'weightgate.yaml');
    await writeFile(yaml, (await readFile(yaml, 'utf8')).replace('database: null', 'database: mysql://x'));
    expect(await refusalCodeAsync(() => openServerHome(alone, PASSPHRASE, clock))).toBe('log-connection');
  }, 60_000);
});
