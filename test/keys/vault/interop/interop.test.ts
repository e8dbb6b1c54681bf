import { execFileSync, spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import type { KeyCustody, ModelKeyContext } from '../../../../src/keys/custody.ts';
import { TransitClient } from '../../../../src/keys/vault/transit-client.ts';
import { createVaultKey, openVaultCustody } from '../../../../src/keys/vault/vault-custody.ts';
import { systemClock } from '../../../../src/platform/clock.ts';
import { createDevelopmentAuthority } from '../../../../src/platform/tls-authority.ts';
import { refusalCodeAsync } from '../../../support/refusal-code.ts';

const environment = { ...process.env, GOPROXY: 'off', GOFLAGS: '-mod=readonly' };
const options = { cwd: import.meta.dirname, env: environment, encoding: 'utf8' } as const;
/** Go and Vault's modules are on this machine (`go mod download` in this folder); elsewhere the test shows as skipped. */
const available = spawnSync('go', ['list', '-deps', '.'], options).status === 0;
const BUILD_MILLISECONDS = 600_000;
const TOKEN = 'hvs.interop';

const context: ModelKeyContext = {
  manifestDigest: 'ab'.repeat(32),
  origin: 'example.org',
  mode: 'production',
};
const modelKey = new Uint8Array(32).fill(7);

describe.skipIf(!available)('the transit engine of Vault 1.14 (needs Go and its downloaded modules)', () => {
  const folder = mkdtempSync(join(tmpdir(), 'weightgate-transit-'));
  const path = (name: string): string => join(folder, name);
  let service: ChildProcess;
  let client: TransitClient;

  beforeAll(async () => {
    const { authority, server } = await createDevelopmentAuthority(['127.0.0.1'], systemClock.posixSeconds());
    writeFileSync(path('certificate.pem'), server.certificate);
    writeFileSync(path('key.pem'), server.privateKey);
    writeFileSync(path('token'), TOKEN, { mode: 0o600 });
    execFileSync('go', ['build', '-o', path('service'), '.'], options);
    const names = [path('certificate.pem'), path('key.pem'), TOKEN];
    service = spawn(path('service'), names, { stdio: ['ignore', 'pipe', 'inherit'] });
    const [port] = (await once(service.stdout!, 'data')) as [Buffer];
    client = new TransitClient({
      address: `https://127.0.0.1:${port.toString().trim()}`,
      authorityCertificate: authority.certificate,
      tokenFile: path('token'),
      mount: 'transit',
      key: 'weightgate',
      namespace: null,
    });
  }, BUILD_MILLISECONDS);

  afterAll(() => {
    client.close();
    service.kill();
    rmSync(folder, { recursive: true });
  });

  it('KC-12 to KC-17, KC-32, KC-35: wraps, rotates, rewraps and retires', async () => {
    expect(await refusalCodeAsync(() => openVaultCustody(client, 'weightgate'))).toBe('custody-failed');
    await createVaultKey(client, 'weightgate');
    await createVaultKey(client, 'weightgate');
    const custody: KeyCustody = await openVaultCustody(client, 'weightgate');
    const wrapped = await custody.wrap(modelKey, context);
    expect(await custody.unwrap(wrapped, context)).toEqual(modelKey);
    expect(await custody.wrappingKeys()).toEqual({ current: 'v1', older: [] });
    await custody.rotate();
    expect(await custody.wrappingKeys()).toEqual({ current: 'v2', older: ['v1'] });
    expect(await custody.unwrap(wrapped, context)).toEqual(modelKey);
    const renewed = await custody.rewrap(wrapped, context);
    expect(custody.isCurrent(renewed)).toBe(true);
    expect(await custody.retire(new Set(['v2']))).toEqual(['v1']);
    expect(await custody.wrappingKeys()).toEqual({ current: 'v2', older: [] });
    expect(await refusalCodeAsync(() => custody.unwrap(wrapped, context))).toBe('wrapping-key-unknown');
    expect(await custody.unwrap(renewed, context)).toEqual(modelKey);
    await custody.rotate();
    await custody.retire(new Set());
    expect(await custody.wrappingKeys()).toEqual({ current: 'v3', older: [] });
  });

  it('KC-13, KC-33: says no to what was damaged, and to another token', async () => {
    const custody = await openVaultCustody(client, 'weightgate');
    const wrapped = await custody.wrap(modelKey, context);
    for (let at = 0; at < wrapped.length; at += 3) {
      const damaged = wrapped.slice();
      damaged[at] = (damaged[at] ?? 0) ^ 1;
      expect(await refusalCodeAsync(() => custody.unwrap(damaged, context))).not.toBe('accepted');
    }
    writeFileSync(path('token'), 'another');
    expect(await refusalCodeAsync(() => custody.unwrap(wrapped, context))).toBe('custody-denied');
    writeFileSync(path('token'), TOKEN);
    expect(await custody.unwrap(wrapped, context)).toEqual(modelKey);
  });
});
