import { describe, expect, it } from 'vitest';

import { fromBase64, toBase64 } from '../../attestation/core/bytes.ts';
import { decodeCanonicalJson, encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import { openGrant } from '../../src/agent/grant.ts';
import { enrol, prepareRelease, type PreparedRelease } from '../../src/agent/key-release.ts';
import { parseVerifierKey } from '../../src/log/verifier-key.ts';
import type { Grant } from '../../src/server/messages.ts';
import { countOutcomes, flippedBytes } from '../support/flipped-bytes.ts';
import { digestOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { MODEL_KEY, SUBJECT, TestServer } from '../support/release-server.ts';

interface Granted {
  readonly server: TestServer;
  readonly answer: Grant;
  readonly expectations: PreparedRelease['expectations'];
}

async function obtainGrant(): Promise<Granted> {
  const server = await TestServer.createReady();
  await enrol(server.agent(), server.tpm.enrolling);
  return { server, ...(await anotherGrant(server)) };
}

async function anotherGrant(server: TestServer): Promise<Omit<Granted, 'server'>> {
  const { envelope, expectations } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
  const answer = (await server.client.post('/v1/releases', envelope)) as unknown as Grant;
  return { answer, expectations };
}

/** As the agent reads it from the network. */
async function openAnswer(bytes: Uint8Array, expectations: Granted['expectations']): Promise<Uint8Array> {
  const answer = decodeCanonicalJson(bytes, { maxBytes: 1 << 20 }, 'answer');
  return (await openGrant(answer, expectations)).modelKey;
}

describe('a grant on its way to the agent', () => {
  it('RP-24 to RP-26: no byte of the answer can be changed', async () => {
    const { answer, expectations } = await obtainGrant();
    const bytes = encodeCanonicalJson({ ...answer });
    const outcomes = await countOutcomes(flippedBytes(bytes), (flipped) => openAnswer(flipped, expectations));
    expect(outcomes.get('accepted')).toBeUndefined();
    expect([...outcomes.values()].reduce((sum, count) => sum + count, 0)).toBe(bytes.length);
    const codes = ['grant-not-opened', 'base64-malformed', 'ear-signature'];
    expect([...outcomes.keys()]).toEqual(expect.arrayContaining(codes));
    expect(await openAnswer(bytes, expectations)).toEqual(MODEL_KEY);
  }, 240_000);

  it.each(['entry', 'encapsulatedKey', 'wrappedKey'] as const)(
    'RP-24 to RP-26: no byte of its %s can be changed',
    async (member) => {
      const { answer, expectations } = await obtainGrant();
      const outcomes = await countOutcomes(flippedBytes(fromBase64(answer[member], member)), (flipped) =>
        openGrant({ ...answer, [member]: toBase64(flipped) }, expectations),
      );
      const [code] = outcomes.keys();
      expect(outcomes.size).toBe(1);
      expect(code).toBe(member === 'entry' ? 'log-inclusion-invalid' : 'grant-not-opened');
    },
    60_000,
  );

  it('RP-25: a decision that does not stand in the pinned log opens nothing', async () => {
    const { server, answer, expectations } = await obtainGrant();
    const other = await TestServer.create();
    const { origin } = expectations.log;
    const { logKey } = other.identity;
    const keys = [parseVerifierKey(logKey, 'logKey')];
    const elsewhere = { ...expectations, log: { ...expectations.log, origin, keys } };
    expect(await refusalCodeAsync(() => openGrant({ ...answer }, elsewhere))).toMatch(/^log-/);
    const { proof } = (await anotherGrant(server)).answer;
    expect(await refusalCodeAsync(() => openGrant({ ...answer, proof }, expectations))).toMatch(/^log-/);
  });

  it('RP-26: a logged decision about something else opens nothing', async () => {
    const { answer, expectations } = await obtainGrant();
    const changes: Partial<Granted['expectations']>[] = [
      { lab: 'lab-two' },
      { purpose: 'interpretability' },
      { manifestDigest: digestOf('other') },
      { inferencePolicyDigest: digestOf('other') },
      { nonce: new Uint8Array(32) },
      { requestDigest: digestOf('other') },
      { renews: '00'.repeat(16) },
    ];
    for (const change of changes) {
      const code = await refusalCodeAsync(() => openGrant({ ...answer }, { ...expectations, ...change }));
      expect(code, Object.keys(change).join()).toBe('grant-mismatch');
    }
  });

  it('RP-24, RP-28: a grant opens for no other request of the same agent', async () => {
    const { server, answer, expectations } = await obtainGrant();
    const second = await anotherGrant(server);
    expect(await refusalCodeAsync(() => openGrant({ ...answer }, second.expectations))).toBe(
      'grant-mismatch',
    );
    const { encapsulatedKey, wrappedKey } = second.answer;
    const { attestationResult } = second.answer;
    const otherResult = () => openGrant({ ...answer, attestationResult }, expectations);
    expect(await refusalCodeAsync(otherResult)).toBe('ear-nonce');
    const mixed = { ...answer, encapsulatedKey, wrappedKey };
    expect(await refusalCodeAsync(() => openGrant(mixed, expectations))).toBe('grant-not-opened');
    const otherBinding = { ...expectations, binding: second.expectations.binding };
    expect(await refusalCodeAsync(() => openGrant({ ...answer }, otherBinding))).toBe('grant-not-opened');
  });

  it('RP-26: a refusal that stands in the log is no grant', async () => {
    const { server, answer, expectations } = await obtainGrant();
    const subject = { ...SUBJECT, inferencePolicyDigest: digestOf('other policy') };
    const refused = await prepareRelease(server.agent(), subject, [server.tpm.attester]);
    await refusalCodeAsync(() => server.client.post('/v1/releases', refused.envelope));
    const { published } = server.home.log;
    const index = published.size - 1n;
    const [entry] = await published.entries(index, published.size);
    const proof = await published.inclusionProof(index);
    const logged = { ...answer, entry: toBase64(entry!), proof };
    expect(await refusalCodeAsync(() => openGrant(logged, expectations))).toBe('grant-not-a-grant');
  });
});
