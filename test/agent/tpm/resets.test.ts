/** A TPM that is reset in the middle, and others who use it (docs/spec/tpm-agent.md, TA-10 and TA-24). */

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { Algorithm } from '../../../attestation/tpm/layout.ts';
import { attestationKeyTemplates } from '../../../attestation/tpm/templates.ts';
import { Handle } from '../../../native/tpm-commands/commands.ts';
import { SaltKey } from '../../../native/tpm-commands/salt-key.ts';
import { Tpm } from '../../../native/tpm-commands/tpm.ts';
import type { DeviceRequest } from '../../../src/agent/evidence.ts';
import { type PcrRequest, TpmAttester } from '../../../src/agent/tpm/attester.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../../support/swtpm.ts';
import { checkEnrolment, credentialFor } from './verification.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

const ENDORSEMENT_KEY = 0x81010001;
const pcrs: PcrRequest = { bank: 'sha256', pcrs: [0] };

describe.skipIf(swtpmMissing !== undefined)('a TPM that others use and reset', () => {
  let simulator: TestTpm;

  beforeAll(async () => {
    simulator = await startTestTpm();
  });
  afterAll(() => simulator.remove());
  beforeEach(() => simulator.tpm.reset());

  async function withTpm<T>(work: (tpm: Tpm) => Promise<T>): Promise<T> {
    const tpm = await Tpm.open(simulator.tpm.address);
    try {
      return await work(tpm);
    } finally {
      await tpm.close();
    }
  }
  async function saltKey(tpm: Tpm): Promise<SaltKey> {
    const { handle, publicArea } = await tpm.readPublic(ENDORSEMENT_KEY);
    if (publicArea.type !== Algorithm.rsa) throw new Error('not the endorsement key');
    return SaltKey.ofVerifiedArea(handle, publicArea);
  }

  it('TA-24: a reset between two commands is told apart from a handle that is wrong', async () => {
    await withTpm(async (tpm) => {
      const key = await tpm.createPrimary(Handle.endorsement, attestationKeyTemplates['ecc-p256']);
      const other = { ...key, handle: key.handle + 1 };
      const use = (loaded: typeof key) => (): Promise<unknown> => tpm.quote(loaded, randomBytes(32), []);
      expect(await refusalCodeAsync(use(other))).toBe('tpm-response');
      await simulator.tpm.reset();
      expect(await refusalCodeAsync(use(key))).toBe('tpm-was-reset');
    });
  });

  it('TA-24: a reset within a salted session is noticed', async () => {
    await withTpm(async (tpm) => {
      const key = await saltKey(tpm);
      const work = tpm.withSaltedSession(key, async (own) => {
        await own.random(8);
        await simulator.tpm.reset();
        await own.random(8);
      });
      expect(await refusalCodeAsync(() => work)).toBe('tpm-was-reset');
    });
  });

  it('TA-24: a session of somebody else under the same handle does not stand in', async () => {
    await withTpm(async (tpm) => {
      const key = await saltKey(tpm);
      const work = tpm.withSaltedSession(key, async (own) => {
        await simulator.tpm.reset();
        await withTpm(async (stranger) =>
          stranger.withSaltedSession(await saltKey(stranger), async () => {
            await own.random(8);
          }),
        );
      });
      expect(await refusalCodeAsync(() => work)).toMatch(/^tpm-(was-reset|session-command)$/);
    });
  });

  it('TA-24: an agent notices, and begins anew with a new connection', async () => {
    const attester = await TpmAttester.open(simulator.tpm.address);
    await attester.quote(randomBytes(32), pcrs);
    await simulator.tpm.reset();
    expect(await refusalCodeAsync(() => attester.quote(randomBytes(32), pcrs))).toBe('tpm-was-reset');
    await attester.close();
    const next = await TpmAttester.open(simulator.tpm.address);
    expect((await next.quote(randomBytes(32), pcrs)).pcrs.size).toBe(1);
    await next.close();
  });

  it('TA-24: a key of somebody else under the handle of the attestation key does not sign for it', async () => {
    const attester = await TpmAttester.open(simulator.tpm.address);
    await simulator.tpm.reset();
    await withTpm(async (tpm) => {
      const stranger = await tpm.createPrimary(Handle.owner, attestationKeyTemplates['ecc-p256']);
      await tpm.flushAfter(stranger.handle, async () => {
        expect(await refusalCodeAsync(() => attester.quote(randomBytes(32), pcrs))).toBe('tpm-was-reset');
      });
    });
    await attester.close();
  });

  it('TA-24, AM-10: what was measured before a reset is measured again after an enrolment', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'weightgate-agent-log-'));
    const event = { kind: 'agent-program', digest: new Uint8Array(32).fill(7) } as const;
    const measurement = { folder, events: () => Promise.resolve([event]) };
    const request: DeviceRequest = {
      class: 'tpm',
      ...{ bank: 'sha256', pcrs: [13], eventLog: false, imaList: false, agentPcr: 13, ratchet: false },
    };
    const collect = async (enrolled: boolean): Promise<unknown> => {
      const attester = await TpmAttester.open(simulator.tpm.address, { measurement });
      try {
        if (enrolled) {
          const { endorsementCertificate, attestationKey } = attester;
          const enrolment = await checkEnrolment(endorsementCertificate, attestationKey, simulator.anchors);
          const { credentialBlob, encryptedSecret } = await credentialFor(enrolment, randomBytes(32));
          await attester.activate(credentialBlob, encryptedSecret);
        }
        return await attester.collect(request, randomBytes(32));
      } finally {
        await attester.close();
      }
    };
    const first = await collect(true);
    await simulator.tpm.reset();
    // A renewal enrols nothing: the agent ends.
    expect(await refusalCodeAsync(() => collect(false))).toBe('agent-measurement-late');
    expect(await collect(true)).toMatchObject({
      agentLog: (first as { readonly agentLog: string }).agentLog,
      pcrs: (first as { readonly pcrs: object }).pcrs,
    });
    await rm(folder, { recursive: true });
  });

  it('TA-9: sessions that others hold are told, and their end is enough', async () => {
    await withTpm(async (tpm) => {
      const key = await saltKey(tpm);
      const held = [];
      for (let session = 0; session < 3; session += 1) held.push(await tpm.startPolicySession());
      const work = (): Promise<unknown> => tpm.withSaltedSession(key, (own) => own.random(8));
      expect(await refusalCodeAsync(work)).toBe('tpm-slots-full');
      await tpm.flush(held[0]!.handle);
      expect(await work()).toHaveLength(8);
      for (const { handle } of held.slice(1)) await tpm.flush(handle);
    });
  });

  it('TA-10: a session that somebody else unloads ends the work, and is no reset', async () => {
    await withTpm(async (tpm) => {
      const key = await saltKey(tpm);
      const work = tpm.withSaltedSession(key, async (own) => {
        for (const handle of await own.handles(0x02000000, 8)) await tpm.flush(handle);
        await own.random(8);
      });
      expect(await refusalCodeAsync(() => work)).toBe('tpm-response');
    });
  });
});
