/** Rules for what was booted, from the challenge to the logged decision (docs/spec/tpm-boot.md). */

import { describe, expect, it } from 'vitest';

import { concatBytes } from '../../attestation/core/bytes.ts';
import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import { MAX_LOG_BYTES } from '../../attestation/tpm/evidence.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import {
  bootMachine,
  COMMAND_LINE,
  GOOD_BOOT,
  GOOD_EVENTS,
  GOOD_REFERENCE,
  grubText,
  hexOf,
  image,
  STRICT_RULES,
} from '../support/boot.ts';
import type { BootedMachine } from '../support/boot.ts';
import { makeEnrollableTpm } from '../support/enrolled-tpm.ts';
import { examplePredicates } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { manifestDigest, MODEL_KEY, SUBJECT, TestServer } from '../support/release-server.ts';
import { expectSameAtTheEnd } from '../support/replay.ts';

const good = bootMachine(GOOD_BOOT);

const policyWith = (boot: JsonValue, pcrs = [...good.registers.keys()]) => ({
  ...examplePredicates.releasePolicy,
  epoch: 2,
  tpm: { ...examplePredicates.releasePolicy.tpm, pcrs, registers: 'any', boot },
});

/** A server whose policy judges boots, and by what. */
async function judgingServer(): Promise<TestServer> {
  const server = await TestServer.createReady();
  expectSameAtTheEnd(server);
  await server.state('release-policy/v1', policyWith(STRICT_RULES));
  const values = {
    ...{ version: 2, class: 'tpm', name: 'good boot', bank: 'sha256', pcrs: {}, boot: GOOD_REFERENCE },
    provenance: { source: 'a test', recordedAt: 1_700_000_000 },
  };
  await server.state('reference-values/v1', { ...examplePredicates.referenceValues, epoch: 2, values });
  return server;
}

/** What becomes of a machine that enrols and asks. */
async function ask(server: TestServer, machine: BootedMachine): Promise<string> {
  const tpm = await makeEnrollableTpm('rack-1', machine);
  await enrol(server.agent(), tpm.enrolling);
  return await refusalCodeAsync(() => requestRelease(server.agent(), SUBJECT, [tpm.attester]));
}

describe('a server whose policy judges what was booted', () => {
  it('BC-2: asks for the logs that its rules need', async () => {
    const server = await judgingServer();
    const body = encodeCanonicalJson({ version: 1, lab: 'lab-one', manifestDigest });
    expect(await server.client.post('/v1/challenges', body)).toMatchObject({
      devices: [{ class: 'tpm', eventLog: true, imaList: true, agentPcr: 13 }],
    });
  });

  it('BC-20, BC-23: grants to the good boot and logs what it was', async () => {
    const server = await judgingServer();
    const tpm = await makeEnrollableTpm('rack-1', good);
    await enrol(server.agent(), tpm.enrolling);
    const released = await requestRelease(server.agent(), SUBJECT, [tpm.attester]);
    expect(released.modelKey).toEqual(MODEL_KEY);
    expect(await server.lastEntry()).toMatchObject({
      outcome: 'granted',
      claims: [
        {
          claims: {
            referenceValues: 'good boot',
            boot: {
              secureBoot: { state: 'enabled' },
              images: ['shim', 'GRUB', 'kernel'].map(hexOf),
              loader: { commandLines: [COMMAND_LINE, 'quiet', ' console=ttyS0'] },
              agent: { programs: [hexOf('agent 1.0')] },
            },
          },
        },
      ],
    });
  });

  it('BC-20: refuses another boot, and logs why', async () => {
    const server = await judgingServer();
    const events = [...GOOD_EVENTS, image('malware'), grubText('grub_cmd', 'insmod evil')];
    expect(await ask(server, bootMachine({ ...GOOD_BOOT, events }))).toBe('tpm-boot-image');
    expect(await server.lastEntry()).toMatchObject({
      outcome: 'refused',
      refusals: [
        { code: 'tpm-boot-image', field: 'eventLog PCR 4' },
        { code: 'tpm-boot-loader', field: 'eventLog PCR 8, 9, 12' },
      ],
    });
  });

  it('BC-1: takes logs as large as they may be', async () => {
    const server = await judgingServer();
    const { imaList } = good.logs;
    // The list goes on growing after the quote: what follows proves nothing and does no harm.
    const more = Math.floor((MAX_LOG_BYTES.imaList - imaList.length) / imaList.length);
    const long = concatBytes(imaList, ...Array.from({ length: more }, () => imaList));
    expect(long.length).toBeGreaterThan(MAX_LOG_BYTES.imaList - imaList.length);
    expect(await ask(server, { ...good, logs: { ...good.logs, imaList: long } })).toBe('accepted');
  });

  it('BC-4, BC-7, BC-9: takes no policy whose rules cannot be judged', async () => {
    const server = await TestServer.createReady();
    const publish = (...args: Parameters<typeof policyWith>): Promise<string> =>
      refusalCodeAsync(() => server.state('release-policy/v1', policyWith(...args)));
    expect(await publish(STRICT_RULES, [0, 7])).toBe('tpm-document');
    expect(await publish('any')).toBe('tpm-document');
    expect(await publish({ images: 'reference' })).toBe('shape-member');
  });
});
