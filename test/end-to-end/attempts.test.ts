import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';

import { encodeCanonicalJson } from '../../attestation/core/canonical-json.ts';
import type { Refusal } from '../../attestation/core/refusal.ts';
import { requestRelease } from '../../src/agent/key-release.ts';
import { manufactureSoftwareTpm, SoftwareTpm } from '../../src/agent/simulated/software-tpm.ts';
import { GOOD_BOOT, OTHER_COMMAND_LINE, OTHER_KERNEL } from '../../src/cli/demo/boots.ts';
import { TpmAttester } from '../../src/agent/tpm/attester.ts';
import { sendForgedEvidence, sendTwice, type Asking } from '../../src/cli/demo/attacks.ts';
import { formatVerifierKey, makeVerifierKey } from '../../src/log/verifier-key.ts';
import { readServerProfile, type ServerProfile } from '../../src/platform/server-profile.ts';
import { signerOf } from '../support/governance.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import type { Program } from '../support/road-program.ts';
import { Road, type AgentChanges } from '../support/road.ts';
import { swtpmMissing } from '../support/swtpm.ts';

interface KeptTpm {
  /** An agent that wants it. */
  readonly agent: Program;
  giveBack(): Promise<void>;
}

/** Another TPM of the road, of which this process does not let go: it serves one connection at a time. */
async function keepTpm(road: Road): Promise<KeptTpm> {
  const folder = road.path('kept-tpm');
  await mkdir(folder);
  await manufactureSoftwareTpm(folder, { authorityFolder: road.path('tpm/authority') });
  const tpm = await SoftwareTpm.start(folder);
  const port = Number(/port=(\d+)/.exec(tpm.address)?.[1]);
  const connection = connect({ host: '127.0.0.1', port });
  await once(connection, 'connect');
  const giveBack = async (): Promise<void> => {
    connection.destroy();
    await tpm.stop();
  };
  return { agent: road.startAgent({ tpm: tpm.address }), giveBack };
}

describe.skipIf(swtpmMissing !== undefined)('attempts to get the key that are refused', () => {
  let road: Road;
  let kept: KeptTpm;

  beforeAll(async () => {
    road = await Road.build();
    kept = await keepTpm(road);
    return async () => {
      await kept.giveBack();
      await road.close();
    };
  }, 120_000);

  const attempt = async (changes: AgentChanges) => {
    const agent = road.startAgent(changes);
    const address = await agent.line('listening: ').catch(() => undefined);
    if (address !== undefined) throw new Error(`the agent serves at ${address}`);
    const { exitCode, code } = await agent.ended;
    return { exitCode, code };
  };

  // The first of all: no agent of this machine has enrolled yet.
  it('RP-12: an attestation key that was not enrolled', async () => {
    const attester = await TpmAttester.open(road.machine.address, {
      logs: { eventLog: road.machine.eventLog },
    });
    try {
      const ask = () => road.asLab((options, subject) => requestRelease(options, subject, [attester]));
      expect(await refusalCodeAsync(ask)).toBe('tpm-not-enrolled');
    } finally {
      await attester.close();
    }
  });

  it("RP-8: another lab's key", async () => {
    expect(await attempt({ key: 'stranger' })).toEqual({ exitCode: 1, code: 'request-signature' });
  });

  it('RP-8: a lab that nobody accredited', async () => {
    expect(await attempt({ lab: 'lab-b' })).toEqual({ exitCode: 1, code: 'request-signature' });
  });

  it('RP-20: a purpose that the policy does not permit', async () => {
    expect(await attempt({ purpose: 'customer-service' })).toEqual({ exitCode: 1, code: 'policy-refused' });
    const [last] = (await road.decisions()).slice(-1);
    expect(last).toMatchObject({ outcome: 'refused', purpose: 'customer-service', lease: null });
  });

  it('RP-19: a machine that booted something else', async () => {
    await road.machine.rebootInto(OTHER_KERNEL);
    try {
      expect(await attempt({})).toEqual({ exitCode: 1, code: 'tpm-boot-image' });
    } finally {
      await road.machine.rebootInto(GOOD_BOOT);
    }
  });

  it('BC-20: a machine that booted with another command line', async () => {
    await road.machine.rebootInto(OTHER_COMMAND_LINE);
    try {
      expect(await attempt({})).toEqual({ exitCode: 1, code: 'tpm-boot-loader' });
    } finally {
      await road.machine.rebootInto(GOOD_BOOT);
    }
  });

  describe('from another machine', () => {
    let other: SoftwareTpm | undefined;
    afterEach(() => other?.stop());

    const switchOn = async (name: string, authorityFolder?: string): Promise<string> => {
      const folder = road.path(name);
      await mkdir(folder);
      await manufactureSoftwareTpm(folder, authorityFolder === undefined ? {} : { authorityFolder });
      other = await SoftwareTpm.start(folder);
      return other.address;
    };

    it('RP-9: one of a known vendor that is not accredited', async () => {
      const tpm = await switchOn('other-machine', road.path('tpm/authority'));
      expect(await attempt({ tpm })).toEqual({ exitCode: 1, code: 'enrolment-machine' });
    });

    it('RP-9: one of a vendor that nobody trusts', async () => {
      const tpm = await switchOn('unknown-vendor');
      expect(await attempt({ tpm })).toEqual({ exitCode: 1, code: 'path-untrusted' });
    });
  });

  describe('on one TPM', () => {
    it('RP-30: a second agent gets a lease of its own while the first serves', async () => {
      const first = road.startAgent();
      await first.line('listening: ');
      const second = road.startAgent();
      await second.line('listening: ');
      const leases = (await road.decisions()).slice(-2).map(({ lease }) => lease?.lease);
      expect(new Set(leases).size).toBe(2);
      for (const agent of [first, second]) expect((await agent.stop()).exitCode).toBe(143);
    });
  });

  // Nothing tells whether a silent TPM will answer yet, so the agent waits a while; it has done so since the beginning.
  it('TA-6, CL-1: on a TPM that another program holds', async () => {
    const { exitCode, code, lines } = await kept.agent.ended;
    expect({ exitCode, code }).toEqual({ exitCode: 4, code: 'tpm-busy' });
    expect(lines).toHaveLength(2);
  });

  describe('by a client that was changed', () => {
    const send = (sending: (asking: Asking) => Promise<Refusal | undefined>) =>
      road.asLab((options, subject) => sending({ options, subject, device: road.machine }));

    it('RP-15, W4: the same request twice', async () => {
      expect((await send(sendTwice))?.code).toBe('challenge-used');
    });

    it('RP-17: a quote with one bit changed', async () => {
      expect((await send(sendForgedEvidence))?.code).toBe('tpm-quote-signature');
    });
  });

  describe('with a profile of another server', () => {
    const writeProfile = async (changes: Partial<ServerProfile>): Promise<string> => {
      const path = road.path('work/profile.json');
      const profile = { ...(await readServerProfile(road.profile)), ...changes };
      await writeFile(path, encodeCanonicalJson(profile));
      return path;
    };

    it('RP-5, W9: which calls an evaluation server one for production', async () => {
      const profile = await writeProfile({ mode: 'production' });
      expect(await attempt({ profile })).toEqual({ exitCode: 3, code: 'shape-mismatch' });
    });

    it('RP-5, RP-25: which names the log of a production server', async () => {
      const profile = await writeProfile({ mode: 'production', origin: 'road.example' });
      expect(await attempt({ profile })).toEqual({ exitCode: 1, code: 'log-checkpoint-origin' });
    });

    it('RP-25: which pins another key for the log', async () => {
      const { origin } = await readServerProfile(road.profile);
      const { publicKey } = signerOf('another log');
      const logKey = formatVerifierKey(makeVerifierKey(origin, 'ed25519', publicKey));
      const { exitCode, code } = await attempt({ profile: await writeProfile({ logKey }) });
      expect({ exitCode, code }).toEqual({ exitCode: 1, code: 'log-note-unsigned' });
    });
  });
});
