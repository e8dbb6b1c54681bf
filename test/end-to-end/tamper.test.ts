import { readFile } from 'node:fs/promises';

import { describe, expect, it, vi } from 'vitest';

import { fromBase64, toBase64 } from '../../attestation/core/bytes.ts';
import {
  decodeCanonicalJson,
  encodeCanonicalJson,
  type JsonValue,
} from '../../attestation/core/canonical-json.ts';
import { RefusalError, type Refusal } from '../../attestation/core/refusal.ts';
import { enrol, prepareRelease } from '../../src/agent/key-release.ts';
import { systemClock } from '../../src/platform/clock.ts';
import { decodeEnvelope, encodeEnvelope, signEnvelope } from '../../src/platform/dsse.ts';
import { judgeEvidence, lookUpBasis } from '../../src/server/evidence.ts';
import { GovernanceLog } from '../../src/server/governance-log.ts';
import { RELEASE_REQUEST_TYPE } from '../../src/server/messages.ts';
import { release } from '../../src/server/release.ts';
import type { Challenge } from '../../src/server/storage.ts';
import { countOutcomes, flippedBytes } from '../support/flipped-bytes.ts';
import { examplePredicates, signerOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { SUBJECT, TestServer, type HomeChange } from '../support/release-server.ts';
import { PCRS } from '../support/software-attester.ts';

const RESEARCH_POLICY = new URL('../../policies/release/research.cedar', import.meta.url);
const LIMITS = { maxBytes: 1 << 20 };

interface GoodRequest {
  readonly server: TestServer;
  /** The body of `POST /v1/releases`. */
  readonly body: Uint8Array;
  /** What the lab signed in it. */
  readonly payload: Uint8Array;
  readonly evidence: { readonly devices: readonly [TpmDevice] };
  readonly binding: Uint8Array;
}

interface TpmDevice {
  readonly evidence: Readonly<Record<'akPublic' | 'attest' | 'signature', string>>;
}

/** Thousands of refusals are logged here: none of them has to outlive the test. */
const withLogInMemory: HomeChange = async (home) => {
  const { published } = home.log;
  const entries = await published.entries(0n, published.size);
  const stream = (async function* () {
    for (const entry of entries) yield await Promise.resolve(entry);
  })();
  let index = published.size;
  const log = {
    append: () => Promise.resolve({ index: index++, leafHash: new Uint8Array(32), proof: 'in memory' }),
  };
  vi.spyOn(home.storage, 'keepDecision').mockReturnValue(undefined);
  vi.spyOn(home.evidence, 'keep').mockReturnValue(undefined);
  return { ...home, governance: await GovernanceLog.open(log, stream, systemClock) };
};

/** A good request to a server that takes its challenge as often as it comes, so that no used nonce hides a check. */
async function makeGoodRequest(): Promise<GoodRequest> {
  const server = await TestServer.createReady();
  await server.state('release-policy/v1', {
    ...examplePredicates.releasePolicy,
    epoch: 2,
    cedar: await readFile(RESEARCH_POLICY, 'utf8'),
    tpm: {
      bank: 'sha256',
      pcrs: [...PCRS],
      registers: 'reference',
      ratchet: 'none',
      boot: 'any',
      allowUnsafeClock: true,
      endorsementValidity: 'ignore-expiry',
      deniedFirmware: [],
    },
  });
  await enrol(server.agent(), server.tpm.enrolling);
  await server.restart(withLogInMemory);
  const { envelope, expectations } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
  const { payload } = decodeEnvelope(envelope, LIMITS, 'request');
  const message = decodeCanonicalJson(payload, LIMITS, 'request') as unknown as {
    challenge: string;
    lab: string;
    evidence: GoodRequest['evidence'];
  };
  const challenge: Challenge = {
    challenge: message.challenge,
    nonce: expectations.nonce,
    lab: message.lab,
    manifestDigest: SUBJECT.manifestDigest,
    expiresAt: server.clock.posixSeconds() + 600,
    opened: 1,
  };
  vi.spyOn(server.home.storage, 'consumeChallenge').mockImplementation((name) =>
    name === challenge.challenge ? { outcome: 'consumed', challenge } : { outcome: 'unknown' },
  );
  const { binding } = expectations;
  return { server, body: envelope, payload, evidence: message.evidence, binding };
}

function refuseAs([first]: readonly Refusal[]): never {
  if (first === undefined) throw new Error('refused without a reason');
  throw new RefusalError('unacceptable', first);
}

/** What the server says to a body. @throws RefusalError its first refusal */
async function ask({ server }: GoodRequest, body: Uint8Array): Promise<void> {
  const outcome = await release({ ...server.home, serverBuild: 'test' }, body);
  if (outcome.outcome === 'refused') refuseAs(outcome.refusals);
}

/** The lab itself signs the changed payload, so that its signature hides no other check. */
async function askSigned(request: GoodRequest, payload: Uint8Array): Promise<void> {
  const envelope = await signEnvelope(RELEASE_REQUEST_TYPE, payload, [signerOf('lab one')]);
  await ask(request, encodeEnvelope(envelope));
}

async function judge(request: GoodRequest, evidence: JsonValue): Promise<void> {
  const { governance, storage, verifier } = request.server.home;
  const { binding } = request;
  const question = { evidence, binding, lab: 'lab-one', time: governance.now() };
  const findBasis = lookUpBasis(verifier, storage, question);
  const { summary } = await judgeEvidence(verifier, governance.state, question, findBasis);
  if (summary.outcome === 'refused') refuseAs(summary.refusals);
}

describe('a release request on its way to the server', () => {
  it('RP-16, RP-18: no byte of the body can be changed', async () => {
    const request = await makeGoodRequest();
    const outcomes = await countOutcomes(flippedBytes(request.body), (body) => ask(request, body));
    expect(outcomes.get('accepted')).toBeUndefined();
    expect(outcomes.get('request-signature')).toBeGreaterThan(0);
    expect(await refusalCodeAsync(() => ask(request, request.body))).toBe('accepted');
  }, 60_000);

  it('RP-17, RP-19, RP-20: nor by the lab that signs it anew', async () => {
    const request = await makeGoodRequest();
    const outcomes = await countOutcomes(flippedBytes(request.payload), (payload) =>
      askSigned(request, payload),
    );
    expect(outcomes.get('accepted')).toBeUndefined();
    expect([...outcomes.keys()]).toEqual(
      expect.arrayContaining(['tpm-quote-binding', 'tpm-quote-signature', 'policy-refused']),
    );
    expect(await refusalCodeAsync(() => askSigned(request, request.payload))).toBe('accepted');
  }, 60_000);

  it('RP-17: no byte of the evidence can be changed', async () => {
    const request = await makeGoodRequest();
    const bytes = encodeCanonicalJson(request.evidence as unknown as JsonValue);
    const outcomes = await countOutcomes(flippedBytes(bytes), async (flipped) =>
      judge(request, decodeCanonicalJson(flipped, LIMITS, 'evidence')),
    );
    expect(outcomes.get('accepted')).toBeUndefined();
    expect([...outcomes.values()].reduce((sum, count) => sum + count, 0)).toBe(bytes.length);
    expect(await refusalCodeAsync(() => judge(request, request.evidence as unknown as JsonValue))).toBe(
      'accepted',
    );
  }, 60_000);

  it.each(['akPublic', 'attest', 'signature'] as const)(
    'RP-17: no byte of the %s of the TPM can be changed',
    async (member) => {
      const request = await makeGoodRequest();
      const [device] = request.evidence.devices;
      const changed = (flipped: Uint8Array): JsonValue => {
        const evidence = { ...device.evidence, [member]: toBase64(flipped) };
        return { ...request.evidence, devices: [{ ...device, evidence }] };
      };
      const bytes = fromBase64(device.evidence[member], member);
      const outcomes = await countOutcomes(flippedBytes(bytes), (flipped) =>
        judge(request, changed(flipped)),
      );
      expect(outcomes.get('accepted')).toBeUndefined();
      expect(await refusalCodeAsync(() => judge(request, changed(bytes)))).toBe('accepted');
    },
    60_000,
  );
});
