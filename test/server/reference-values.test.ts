import { describe, expect, it } from 'vitest';

import { toHex } from '../../attestation/core/bytes.ts';
import { enrol, requestRelease } from '../../src/agent/key-release.ts';
import { isInRollout, issueOf } from '../../src/governance/reference-values.ts';
import { examplePredicates, predicateOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { SUBJECT, TestServer } from '../support/release-server.ts';

/** A server whose enrolled machine no reference value fits, and values that would. */
async function strictServer() {
  const server = await TestServer.createReady();
  await enrol(server.agent(), server.tpm.enrolling);
  const [good] = server.tpm.software.inputs.referenceValues as readonly { pcrs: Record<string, string[]> }[];
  const { referenceValues } = examplePredicates;
  const pcrs = Object.fromEntries(Object.keys(good!.pcrs).map((pcr) => [pcr, ['ff'.repeat(32)]]));
  await server.state('reference-values/v1', { ...referenceValues, epoch: 2, values: { ...good, pcrs } });
  const now = server.clock.posixSeconds();
  const staged = {
    ...referenceValues,
    ...{ owner: 'Example vendor', validFrom: now, validUntil: now + 1000, rolloutPercent: 100, values: good },
  };
  const ask = () => refusalCodeAsync(() => requestRelease(server.agent(), SUBJECT, [server.tpm.attester]));
  return { server, staged, ask };
}

describe('a release under reference values', () => {
  it('GV-63: that have begun and not ended', async () => {
    const { server, staged, ask } = await strictServer();
    const refused = await ask();
    expect(refused).not.toBe('accepted');
    const later = { validFrom: staged.validFrom + 500, validUntil: staged.validUntil + 500 };
    await server.state('reference-values/v2', { ...staged, name: 'next', ...later });
    expect(await ask()).toBe(refused);
    server.clock.advance(500);
    expect(await ask()).toBe('accepted');
    server.clock.advance(1000);
    expect(await ask()).toBe(refused);
  });

  it('GV-64: that are being rolled out to its share of the machines', async () => {
    const { server, staged, ask } = await strictServer();
    const machine = `tpm/${toHex(server.tpm.attester.identity)}`;
    const isIn = (rolloutPercent: number, name: string): boolean => {
      const predicate = predicateOf('reference-values/v2', { ...staged, name, rolloutPercent });
      return isInRollout(issueOf(predicate), machine);
    };
    const name = Array.from({ length: 50 }, (_, i) => `next-${i}`).find(
      (candidate) => isIn(90, candidate) && !isIn(10, candidate),
    )!;
    const before = await ask();
    await server.state('reference-values/v2', { ...staged, name, rolloutPercent: 10 });
    expect(await ask()).toBe(before);
    await server.state('reference-values/v2', { ...staged, name, rolloutPercent: 90, epoch: 2 });
    expect(await ask()).toBe('accepted');
  });

  it('GV-60: that its device class can read', async () => {
    const { server, staged } = await strictServer();
    const state = (change: object) =>
      refusalCodeAsync(() => server.state('reference-values/v2', { ...staged, name: 'b', ...change }));
    expect(await state({ values: { version: 1 } })).toMatch(/^shape-/);
    expect(await state({ deviceClass: 'unknown' })).toBe('statement-device-class');
    expect(await state({ validUntil: 1 })).toBe('governance-reference-validity');
  });
});
