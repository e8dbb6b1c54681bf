import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

import { toBase64 } from '../../attestation/core/bytes.ts';
import { formatVerifierKey, makeVerifierKey } from '../../src/log/verifier-key.ts';
import { signAttestationResult } from '../../src/platform/attestation-result.ts';
import { writeServerProfile } from '../../src/platform/server-profile.ts';
import { runCommand } from '../support/command-line.ts';
import { digestOf, signerOf } from '../support/governance.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const ORIGIN = 'log.example/evaluation';
const AT = 1_800_000_000;
const signer = signerOf('log');

async function filesOf() {
  const folder = await temporaryFolder();
  const [profile, token] = [join(folder, 'profile.json'), join(folder, 'result.jwt')];
  await writeServerProfile(profile, {
    version: 1,
    address: 'https://127.0.0.1:1',
    authorityCertificate: 'PEM',
    origin: ORIGIN,
    mode: 'evaluation',
    logKey: formatVerifierKey(makeVerifierKey(ORIGIN, 'ed25519', signer.publicKey)),
    bundleSigners: [toBase64(signer.publicKey)],
  });
  const device = {
    class: 'tpm',
    identity: digestOf('device'),
    model: 'swtpm',
    simulated: true,
    attachment: null,
    trustVector: { hardware: 97 },
  } as const;
  const decision = {
    mode: 'evaluation',
    lab: 'lab-one',
    logOrigin: ORIGIN,
    logIndex: 3,
    leafHash: digestOf('leaf'),
    manifestDigest: digestOf('manifest'),
    agentKeyDigest: digestOf('agent key'),
    evidenceDigest: digestOf('evidence'),
    releasePolicyDigest: digestOf('policy'),
    referenceValuesDigest: digestOf('reference values'),
  } as const;
  const claims = { issuedAt: AT, expiresAt: AT + 60, build: 'b', nonce: digestOf('nonce'), decision };
  const text = await signAttestationResult({ ...claims, devices: [device] }, signer);
  await writeFile(token, `${text}\n`);
  return { profile, token, text };
}

describe('weightgate evidence result', () => {
  it('CL-20: verifies a result offline, and says what it found', async () => {
    const { profile, token } = await filesOf();
    const args = ['evidence', 'result', 'verify', token, '--profile', profile, '--at', String(AT + 1)];
    const nonce = ['--nonce', digestOf('nonce')];
    const good = await runCommand(...args, ...nonce, '--json');
    expect(good).toMatchObject({ exitCode: 0, errors: '' });
    expect(JSON.parse(good.output)).toMatchObject({
      verdict: 'accepted',
      claims: { status: 'contraindicated', devices: [{ class: 'tpm', simulated: true }] },
    });
    const other = await runCommand(...args, '--nonce', '00'.repeat(32));
    expect(other.exitCode).toBe(1);
    expect(other.errors).toContain('ear-nonce');
  });

  it('CL-20: refuses what is late, altered, or no token', async () => {
    const { profile, token, text } = await filesOf();
    const verify = (...args: readonly string[]) =>
      runCommand('evidence', 'result', 'verify', token, '--profile', profile, ...args);
    const late = await verify('--at', String(AT + 60));
    expect([late.exitCode, late.errors]).toEqual([1, expect.stringContaining('ear-time')]);
    await writeFile(token, text.slice(0, -8) + 'AAAAAAAA');
    const altered = await verify('--at', String(AT + 1));
    expect([altered.exitCode, altered.errors]).toEqual([1, expect.stringContaining('ear-signature')]);
    await writeFile(token, 'no token');
    const none = await verify('--at', String(AT + 1));
    expect([none.exitCode, none.errors]).toEqual([3, expect.stringContaining('token-malformed')]);
  });
});
