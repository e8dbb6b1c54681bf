import { createHash } from 'node:crypto';
import { describe, expect, it, vi } from 'vitest';

import { encodeCanonicalJson, type JsonValue } from '../../attestation/core/canonical-json.ts';
import {
  enrol,
  prepareRelease,
  requestRelease,
  type KeyReleaseOptions,
} from '../../src/agent/key-release.ts';
import { openGrant } from '../../src/agent/grant.ts';
import { GovernanceLog } from '../../src/server/governance-log.ts';
import { encodeEntry, type DecisionEntry } from '../../src/governance/entries.ts';
import { parseVerifierKey } from '../../src/log/verifier-key.ts';
import { verifyAttestationResult } from '../../src/platform/attestation-result.ts';
import { encodeEnvelope, signEnvelope } from '../../src/platform/dsse.ts';
import { digestOf, examplePredicates, signerOf, signers } from '../support/governance.ts';
import { makeEnrollableTpm } from '../support/enrolled-tpm.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import {
  manifestDigest,
  MODEL_KEY,
  SUBJECT,
  TestServer,
  type HomeChange,
} from '../support/release-server.ts';
import { expectSameAtTheEnd } from '../support/replay.ts';

async function enrolledServer(): Promise<TestServer> {
  const server = await TestServer.createReady();
  await enrol(server.agent(), server.tpm.enrolling);
  expectSameAtTheEnd(server);
  return server;
}

const ask = (server: TestServer, changes: Partial<KeyReleaseOptions> = {}, subject = {}): Promise<string> =>
  refusalCodeAsync(() =>
    requestRelease(server.agent(changes), { ...SUBJECT, ...subject }, [server.tpm.attester]),
  );

async function preparedRelease(server: TestServer) {
  const prepared = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
  return { ...prepared, nonce: Buffer.from(prepared.expectations.nonce).toString('hex') };
}

/** RFC 6962, section 2.1. */
function leafHashOf(entry: Uint8Array): string {
  return createHash('sha256').update(Uint8Array.of(0)).update(entry).digest('hex');
}

async function lastDecision(server: TestServer): Promise<DecisionEntry> {
  const entry = await server.lastEntry();
  if (entry.type !== 'decision') throw new Error(`the last entry is a ${entry.type}`);
  return entry;
}

describe('a release', () => {
  it('RP-23, RP-25 to RP-27: an enrolled machine gets the key, and its agent proves the decision', async () => {
    const server = await enrolledServer();
    const released = await requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    expect(released.modelKey).toEqual(MODEL_KEY);
    expect(released.lease.endsAt - released.lease.startsAt).toBe(3600);
    expect(await server.lastEntry()).toEqual(released.decision);
    expect(released.decision).toMatchObject({ outcome: 'granted', phase: 'research', refusals: [] });
    expect(released.decision.claims).toMatchObject([{ class: 'tpm', simulated: true }]);
  });

  it('RP-23, AR-5, AR-7: the grant comes with a result that names its entry', async () => {
    const server = await enrolledServer();
    const { nonce, ...prepared } = await preparedRelease(server);
    const answer = await server.client.post('/v1/releases', prepared.envelope);
    const { attestationResult, decision, logIndex } = await openGrant(answer, prepared.expectations);
    const { publicKey } = parseVerifierKey(server.agent().profile.logKey, 'logKey');
    const time = decision.at;
    const logOrigin = server.agent().profile.origin;
    const verdict = await verifyAttestationResult(attestationResult, { publicKey, logOrigin, time, nonce });
    if (verdict.outcome === 'refused') throw new Error(verdict.refusals[0].code);
    const [device] = decision.claims;
    expect(verdict.claims).toMatchObject({
      issuedAt: decision.at,
      expiresAt: decision.lease?.endsAt,
      status: 'contraindicated',
      devices: [
        { class: 'tpm', simulated: true, identity: (device?.claims as { identity: string }).identity },
      ],
      decision: {
        mode: 'evaluation',
        evidenceDigest: decision.evidenceDigest,
        releasePolicyDigest: decision.releasePolicyDigest,
        referenceValuesDigest: decision.referenceValuesDigest,
        logIndex: Number(logIndex),
        leafHash: leafHashOf(encodeEntry(decision)),
      },
    });
  });

  it('RP-34: keeps the request under the digest that the decision names', async () => {
    const server = await enrolledServer();
    await requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const { requestDigest } = await lastDecision(server);
    const payload = server.home.evidence.find(requestDigest)!;
    expect(createHash('sha256').update(payload).digest('hex')).toBe(requestDigest);
  });

  it('RP-33: no entry of the log holds the nonce, the model key or a wrapped key', async () => {
    const server = await enrolledServer();
    const prepared = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const answer = await server.client.post('/v1/releases', prepared.envelope);
    await openGrant(answer, prepared.expectations);
    const text = (await server.entries())
      .map((entry) => Buffer.from(encodeEntry(entry)).toString())
      .join('\n');
    const { wrappedKey, encapsulatedKey } = answer as { wrappedKey: string; encapsulatedKey: string };
    const nonce = Buffer.from(prepared.expectations.nonce);
    for (const secret of [nonce, Buffer.from(MODEL_KEY)]) {
      expect(text).not.toContain(secret.toString('hex'));
      expect(text).not.toContain(secret.toString('base64'));
    }
    expect(text).not.toContain(wrappedKey);
    expect(text).not.toContain(encapsulatedKey);
  });

  it('RP-15, W4: a request that is sent again is told that its challenge was used', async () => {
    const server = await enrolledServer();
    const { envelope } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    await server.client.post('/v1/releases', envelope);
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', envelope))).toBe('challenge-used');
  });

  it('RP-15: a restart revives no nonce, and keeps the open ones', async () => {
    const server = await enrolledServer();
    const used = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const open = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    await server.client.post('/v1/releases', used.envelope);
    await server.restart();
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', used.envelope))).toBe(
      'challenge-used',
    );
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', open.envelope))).toBe('accepted');
  });

  it('RP-14: a challenge expires', async () => {
    const server = await enrolledServer();
    const { envelope } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    server.clock.advance(120);
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', envelope))).toBe(
      'challenge-expired',
    );
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', envelope))).toBe('challenge-used');
  });

  it('RP-18, RP-21: a request of which no lab signed is refused, uses its nonce up and is not logged', async () => {
    const server = await enrolledServer();
    const before = (await server.entries()).length;
    const labSigner = signerOf('somebody else');
    const { envelope } = await prepareRelease(server.agent({ labSigner }), SUBJECT, [server.tpm.attester]);
    const send = (): Promise<unknown> => server.client.post('/v1/releases', envelope);
    expect(await refusalCodeAsync(send)).toBe('request-signature');
    expect(await refusalCodeAsync(send)).toBe('challenge-used');
    expect(await ask(server, { lab: 'lab-two' })).toBe('request-signature');
    expect(await server.entries()).toHaveLength(before);
  });

  it('RP-16: a request with more than one signature is refused before anything is verified', async () => {
    const server = await enrolledServer();
    const { envelope } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const document = JSON.parse(Buffer.from(envelope).toString()) as { signatures: [JsonValue] };
    const [signature] = document.signatures;
    const doubled = encodeCanonicalJson({ ...document, signatures: [signature, signature] });
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', doubled))).toBe(
      'request-signature',
    );
  });

  it('RP-13: a challenge for another model answers nothing', async () => {
    const server = await enrolledServer();
    const other = await prepareRelease(server.agent(), { ...SUBJECT, manifestDigest: digestOf('other') }, [
      server.tpm.attester,
    ]);
    const mixed = await mixedRequest(server, other.envelope);
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', mixed))).toBe(
      'challenge-mismatch',
    );
  });

  /** A request for the right model that names the challenge of another request. */
  async function mixedRequest(server: TestServer, envelope: Uint8Array): Promise<Uint8Array> {
    const payload = (bytes: Uint8Array): Record<string, unknown> => {
      const document = JSON.parse(Buffer.from(bytes).toString()) as { payload: string };
      return JSON.parse(Buffer.from(document.payload, 'base64').toString()) as Record<string, unknown>;
    };
    const { challenge } = payload(envelope);
    const right = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const message = { ...payload(right.envelope), challenge } as JsonValue;
    return await signedRequest(message);
  }
});

async function signedRequest(message: JsonValue): Promise<Uint8Array> {
  const type = 'application/vnd.weightgate.release-request.v1+json';
  return encodeEnvelope(await signEnvelope(type, encodeCanonicalJson(message), [signerOf('lab one')]));
}

describe('the floors (RP-19), each with its logged refusal (RP-21)', () => {
  const { hold, accreditation, model } = examplePredicates;
  const cases: readonly [string, string, (server: TestServer) => Promise<unknown>, object][] = [
    ['a held model', 'floor-held', (server) => server.state('hold/v1', hold, [signers.dora]), {}],
    [
      'a held lab',
      'floor-held',
      (server) =>
        server.state('hold/v1', { ...hold, target: { kind: 'lab', id: 'lab-one' } }, [signers.anna]),
      {},
    ],
    [
      'a hold on everything',
      'floor-held',
      (server) => server.state('hold/v1', { ...hold, target: { kind: 'all', id: 'all' } }, [signers.anna]),
      {},
    ],
    [
      'an accreditation that ended',
      'floor-lab-not-accredited',
      (server) => {
        server.clock.advance(1_000_001);
        return Promise.resolve();
      },
      {},
    ],
    [
      'another inference policy',
      'floor-inference-policy',
      () => Promise.resolve(),
      { inferencePolicyDigest: digestOf('other policy') },
    ],
    [
      'a model that is not registered',
      'floor-model-not-registered',
      () => Promise.resolve(),
      { manifestDigest: digestOf('unregistered') },
    ],
    [
      'a model in phase sealed',
      'floor-phase-not-granting',
      (server) =>
        server.state('model-version/v1', { ...model, version: '2.0', manifestDigest: digestOf('second') }),
      { manifestDigest: digestOf('second') },
    ],
    [
      'a machine in another state',
      'tpm-pcr-value',
      (server) => {
        const pcrs = server.tpm.software.pcrs as Map<number, Uint8Array>;
        pcrs.set(4, new Uint8Array(32).fill(1));
        return Promise.resolve();
      },
      {},
    ],
  ];

  it.each(cases)('%s', async (_title, code, change, subject) => {
    const server = await enrolledServer();
    await change(server);
    const before = (await server.entries()).length;
    const found = await ask(server, {}, subject);
    expect(found).toBe(code);
    const decision = await lastDecision(server);
    expect(decision).toMatchObject({ outcome: 'refused', lease: null, lab: accreditation.lab });
    expect(decision.refusals.map((refusal) => refusal.code)).toContain(found);
    expect(await server.entries()).toHaveLength(before + 1);
  });

  it('an attestation key without enrolment', async () => {
    const server = await TestServer.createReady();
    expect(await ask(server)).toBe('tpm-not-enrolled');
    expect(await lastDecision(server)).toMatchObject({ outcome: 'refused', claims: [] });
  });

  it('GV-49: a machine that was struck from the accreditation', async () => {
    const server = await enrolledServer();
    const { accreditation } = examplePredicates;
    const endsAt = server.clock.start + 1_000_000;
    const struck = { ...accreditation, machines: [], endsAt, statedAt: accreditation.statedAt + 1 };
    await server.state('lab-accreditation/v1', struck);
    expect(await ask(server)).toBe('floor-machine');
    expect((await lastDecision(server)).outcome).toBe('refused');
  });

  it('reference values that no verifier can read never come into force', async () => {
    const server = await enrolledServer();
    const { referenceValues } = examplePredicates;
    const state = (change: object) =>
      refusalCodeAsync(() =>
        server.state('reference-values/v1', { ...referenceValues, name: 'b', ...change }),
      );
    expect(await state({ values: { version: 1 } })).toMatch(/^shape-/);
    expect(await state({ deviceClass: 'unknown' })).toBe('statement-device-class');
    expect(await ask(server)).toBe('accepted');
  });

  it('CM-7, GV-59: a set that no machine can be never comes into force', async () => {
    const server = await TestServer.createReady();
    const { releasePolicy } = examplePredicates;
    const demand = (name: string, count: number) => ({ class: name, count, models: 'any', devices: 'any' });
    const state = (...sets: readonly unknown[]) =>
      refusalCodeAsync(() =>
        server.state('release-policy/v1', { ...releasePolicy, epoch: 9, deviceSets: [['tpm'], ...sets] }),
      );
    expect(await state(['tpm', 'nvidia-gpu'])).toBe('statement-device-set');
    expect(await state([demand('sev-snp', 2)])).toBe('statement-device-set');
    expect(await state([demand('tpm', 2)])).toBe('statement-device-set');
    expect(await state(['tpm', 'a-later-class'], ['sev-snp', demand('nvidia-gpu', 8)])).toBe('accepted');
  });

  it('RP-20: a policy that does not permit', async () => {
    const server = await enrolledServer();
    const cedar = '@id("never") forbid (principal, action, resource);';
    await server.state('release-policy/v1', {
      ...examplePredicates.releasePolicy,
      epoch: 2,
      cedar,
      tpm: { ...examplePredicates.releasePolicy.tpm, pcrs: [0, 1, 4, 7, 11] },
    });
    expect(await ask(server)).toBe('policy-refused');
    expect(await lastDecision(server)).toMatchObject({ outcome: 'refused', reasons: ['never'] });
  });

  it('a model whose key this server does not hold', async () => {
    const server = await enrolledServer();
    vi.spyOn(server.home.modelKeys, 'has').mockReturnValue(false);
    expect(await ask(server)).toBe('release-key-missing');
  });
});

describe('durability', () => {
  const withBrokenLog: HomeChange = async (home) => {
    const { published } = home.log;
    const entries = await published.entries(0n, published.size);
    const stream = (async function* () {
      for (const entry of entries) yield await Promise.resolve(entry);
    })();
    const broken = { append: () => Promise.reject(new Error('no space left on device')) };
    const clock = { posixSeconds: () => Math.floor(Date.now() / 1000), monotonicMilliseconds: () => 0 };
    return { ...home, governance: await GovernanceLog.open(broken, stream, clock) };
  };

  it('RP-22, W2: when the log cannot append, no key is unwrapped and nothing is decided any more', async () => {
    const server = await enrolledServer();
    await server.restart(withBrokenLog);
    const unwrap = vi.spyOn(server.home.modelKeys, 'withKey');
    expect(await ask(server)).toBe('server-stopped');
    expect(await ask(server)).toBe('server-stopped');
    expect(unwrap).not.toHaveBeenCalled();
    expect(await refusalCodeAsync(() => server.client.get('/healthz'))).toBe('server-stopped');
  });

  it('replay equals live: a restarted server has the state that it had', async () => {
    const server = await enrolledServer();
    await ask(server);
    await server.state('hold/v1', examplePredicates.hold, [signers.cleo]);
    const before = server.home.governance.state;
    await server.restart();
    expect(server.home.governance.state).toEqual(before);
  });

  it('GV-44: reference values that change while evidence is verified leave the request undecided', async () => {
    const server = await enrolledServer();
    const { envelope } = await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const { governance } = server.home;
    const before = (await server.entries()).length;
    const record = governance.record.bind(governance);
    vi.spyOn(governance, 'record').mockImplementation((make) =>
      record((state, at) => make({ ...state, referenceValues: new Map(state.referenceValues) }, at)),
    );
    expect(await refusalCodeAsync(() => server.client.post('/v1/releases', envelope))).toBe(
      'server-overtaken',
    );
    expect(await server.entries()).toHaveLength(before);
  });

  it('many requests at once: each is decided and logged once', async () => {
    const server = await enrolledServer();
    const before = (await server.entries()).length;
    const prepared = [];
    for (let i = 0; i < 8; i += 1) {
      prepared.push(await prepareRelease(server.agent(), SUBJECT, [server.tpm.attester]));
    }
    const codes = await Promise.all(
      prepared.map(({ envelope }) => refusalCodeAsync(() => server.client.post('/v1/releases', envelope))),
    );
    expect(codes.every((code) => code === 'accepted' || code === 'tpm-clock-rollback')).toBe(true);
    expect(codes).toContain('accepted');
    expect(await server.entries()).toHaveLength(before + 8);
  });
});

describe('renewal (RP-30)', () => {
  it('a lease is renewed by its holder, with a new lease that names it', async () => {
    const server = await enrolledServer();
    const first = await requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    server.clock.advance(1800);
    const renews = first.lease.lease;
    const second = await requestRelease(server.agent(), { ...SUBJECT, renews }, [server.tpm.attester]);
    expect(second.decision.renews).toBe(renews);
    expect(second.lease.lease).not.toBe(renews);
    expect(second.lease.endsAt).toBe(first.lease.endsAt + 1800);
  });

  it('a lease that ended or was never given is not renewed', async () => {
    const server = await enrolledServer();
    const first = await requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    expect(await ask(server, {}, { renews: '00'.repeat(16) })).toBe('renewal-unknown');
    server.clock.advance(3600);
    expect(await ask(server, {}, { renews: first.lease.lease })).toBe('renewal-unknown');
  });

  it('another machine of the same lab cannot renew it', async () => {
    const server = await enrolledServer();
    const first = await requestRelease(server.agent(), SUBJECT, [server.tpm.attester]);
    const other = await makeEnrollableTpm('rack-2');
    const machines = [server.tpm, other].map(({ endorsementKeyDigest }, i) => ({
      name: `rack-${i + 1}`,
      endorsementKeyDigest,
    }));
    await server.state('lab-accreditation/v1', {
      ...examplePredicates.accreditation,
      machines,
      endsAt: server.clock.start + 1_000_000,
      statedAt: examplePredicates.accreditation.statedAt + 1,
    });
    await enrol(server.agent(), other.enrolling);
    const subject = { ...SUBJECT, renews: first.lease.lease };
    expect(await refusalCodeAsync(() => requestRelease(server.agent(), subject, [other.attester]))).toBe(
      'renewal-mismatch',
    );
    expect((await lastDecision(server)).refusals).toEqual([
      { code: 'renewal-mismatch', field: 'renews.machine' },
    ]);
  });
});

describe('what the server tells', () => {
  it('a model version with its phase and holds', async () => {
    const server = await TestServer.createReady();
    expect(await server.client.get(`/v1/models/${manifestDigest}`)).toMatchObject({
      phase: 'research',
      holds: [],
    });
    await server.state('hold/v1', examplePredicates.hold, [signers.anna]);
    expect(await server.client.get(`/v1/models/${manifestDigest}`)).toMatchObject({
      holds: [{ kind: 'model', reason: 'a critical finding' }],
    });
    const code = await refusalCodeAsync(() => server.client.get(`/v1/models/${digestOf('nothing')}`));
    expect(code).toBe('model-unknown');
  });
});
