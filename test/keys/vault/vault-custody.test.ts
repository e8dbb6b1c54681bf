import { chmod, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { randomUUID } from 'node:crypto';

import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';

import { fromHex, toBase64, toHex } from '../../../attestation/core/bytes.ts';
import type { KeyCustody, ModelKeyContext } from '../../../src/keys/custody.ts';
import { TransitClient, type TransitClientOptions } from '../../../src/keys/vault/transit-client.ts';
import { createVaultKey, openVaultCustody } from '../../../src/keys/vault/vault-custody.ts';
import { refusalCodeAsync } from '../../support/refusal-code.ts';
import { TransitService } from '../../support/transit-service.ts';
import { describeCustodyContract } from '../custody-contract.ts';

const context: ModelKeyContext = {
  manifestDigest: 'ab'.repeat(32),
  origin: 'example.org/evaluation',
  mode: 'evaluation',
};
const modelKey = new Uint8Array(32).fill(7);

let service: TransitService;
let other: TransitService;
const tokenFile = join(tmpdir(), `weightgate-token-${randomUUID()}`);

beforeAll(async () => {
  service = await TransitService.start();
  other = await TransitService.start();
  await writeFile(tokenFile, `${service.token}\n`, { mode: 0o600 });
});

afterAll(async () => {
  await service.close();
  await other.close();
  await rm(tokenFile);
});

function client(changes: Partial<TransitClientOptions> = {}, at = service): TransitClient {
  return new TransitClient({
    address: at.address,
    authorityCertificate: at.authorityCertificate,
    tokenFile,
    mount: 'transit',
    key: 'weightgate',
    namespace: null,
    pause: () => Promise.resolve(),
    ...changes,
  });
}

async function open(changes: Partial<TransitClientOptions> = {}, at = service): Promise<KeyCustody> {
  return await openVaultCustody(client(changes, at), 'weightgate');
}

beforeEach(() => {
  service.setTrouble(undefined);
  service.namespace = undefined;
  service.requests.length = 0;
  service.makeKey('weightgate');
  other.makeKey('weightgate');
});

describeCustodyContract({
  provider: 'vault',
  makeFixture: () =>
    Promise.resolve({
      open: () => open(),
      openForeign: () => open({}, other),
      setFault: (fault) => {
        const kind = fault?.moment === 'after' ? 'drop-done' : 'drop';
        service.setTrouble(fault === undefined ? undefined : { request: fault.step, kind });
      },
      faultHappened: () => service.troubleHappened(),
      remove: () => Promise.resolve(),
    }),
  damagedBytes: 400,
  randomInputs: 100,
});

describe('custody in Vault: what is sent', () => {
  it('shows Vault data keys only, never a model key (KC-31)', async () => {
    const custody = await open();
    const planted = new TextEncoder().encode('planted-key-planted-key-planted!');
    const wrapped = await custody.wrap(planted, context);
    expect(await custody.unwrap(wrapped, context)).toEqual(planted);
    await custody.rotate();
    await custody.rewrap(wrapped, context);
    expect(service.requests.length).toBeGreaterThan(5);
    for (const { path, body } of service.requests) {
      for (const secret of ['planted', toBase64(planted), toHex(planted)]) {
        expect(`${path} ${body}`).not.toContain(secret);
      }
    }
    await custody.close();
  });

  it('renews the data key within Vault (KC-15, KC-31)', async () => {
    const custody = await open();
    const wrapped = await custody.wrap(modelKey, context);
    await custody.rotate();
    service.requests.length = 0;
    await custody.rewrap(wrapped, context);
    expect(service.requests.map(({ path }) => path)).toEqual([
      '/v1/transit/decrypt/weightgate',
      '/v1/transit/rewrap/weightgate',
      '/v1/transit/decrypt/weightgate',
    ]);
    await custody.close();
  });

  it('deletes retired versions in Vault for good (KC-35)', async () => {
    const custody = await open();
    await custody.rotate();
    await custody.retire(new Set(['v2']));
    const key = service.keys.get('weightgate');
    expect([key?.minDecryption, key?.minAvailable, [...(key?.versions.keys() ?? [])]]).toEqual([2, 2, [2]]);
    await custody.close();
  });

  it('sends the namespace, and the token that is in the file now (KC-33)', async () => {
    const custody = await open();
    service.namespace = 'team/models';
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('custody-denied');
    const within = await open({ namespace: 'team/models' });
    expect(await refusalCodeAsync(() => within.wrap(modelKey, context))).toBe('accepted');
    service.namespace = undefined;
    service.token = 'hvs.next-token';
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('custody-denied');
    await writeFile(tokenFile, service.token);
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('accepted');
    await chmod(tokenFile, 0o640);
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('key-file-exposed');
    await chmod(tokenFile, 0o600);
    await writeFile(tokenFile, 'two words');
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('custody-denied');
    await writeFile(tokenFile, service.token);
    await custody.close();
    await within.close();
  });
});

describe('custody in Vault: the key there', () => {
  it('makes a key once, that nobody can take out (KC-32)', async () => {
    service.keys.clear();
    expect(await refusalCodeAsync(() => open())).toBe('custody-failed');
    await createVaultKey(client(), 'weightgate');
    const made = service.requests.find(({ method }) => method === 'POST');
    expect(JSON.parse(made?.body ?? '')).toEqual({
      type: 'aes256-gcm96',
      derived: false,
      exportable: false,
      allow_plaintext_backup: false,
    });
    await createVaultKey(client(), 'weightgate');
    expect(service.requests.filter(({ method }) => method === 'POST')).toHaveLength(1);
    expect(await refusalCodeAsync(() => open())).toBe('accepted');
  });

  it.each([
    { type: 'rsa-4096' },
    { type: 'aes128-gcm96' },
    { derived: true },
    { exportable: true },
    { allow_plaintext_backup: true },
    { latest_version: 0 },
    { latest_version: '1' },
    { derived: undefined },
  ])('refuses a key that is %o (KC-32, KC-34)', async (said) => {
    service.makeKey('weightgate').said = said;
    expect(await refusalCodeAsync(() => open())).toBe('custody-failed');
  });

  it('does not unwrap with a version that Vault was told to refuse (KC-13)', async () => {
    const custody = await open();
    const wrapped = await custody.wrap(modelKey, context);
    await custody.rotate();
    service.keys.get('weightgate')!.minDecryption = 2;
    expect(await refusalCodeAsync(() => custody.unwrap(wrapped, context))).toBe('wrapping-key-unknown');
    const later = wrapped.slice();
    later[later.indexOf('v'.charCodeAt(0), 4) + 1] = '9'.charCodeAt(0);
    expect(await refusalCodeAsync(() => custody.unwrap(later, context))).toBe('wrapping-key-unknown');
    await custody.close();
  });
});

describe('custody in Vault: when it does not work', () => {
  const sealed = { status: 503 };

  it('tries again what was not done, a few times (KC-36)', async () => {
    const custody = await open();
    for (const kind of ['drop', 'drop-done', { status: 429 }, { status: 500 }, sealed] as const) {
      service.setTrouble({ request: 0, kind, once: true });
      expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('accepted');
      expect(service.troubleHappened()).toBe(true);
    }
    service.setTrouble({ request: 0, kind: sealed });
    service.requests.length = 0;
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('custody-unavailable');
    expect(service.requests).toHaveLength(3);
    await custody.close();
  });

  it('never rotates twice for a lost answer (KC-36)', async () => {
    const custody = await open();
    for (const kind of ['drop-done', { status: 500 }] as const) {
      const before = service.keys.get('weightgate')!.latest;
      service.setTrouble({ request: 0, kind, once: true });
      expect(await refusalCodeAsync(() => custody.rotate())).toBe('custody-unavailable');
      expect(service.keys.get('weightgate')!.latest - before).toBe(kind === 'drop-done' ? 1 : 0);
    }
    service.setTrouble({ request: 0, kind: sealed, once: true });
    expect(await refusalCodeAsync(() => custody.rotate())).toBe('accepted');
    await custody.close();
  });

  it('waits as it is asked to, but not for long (KC-36)', async () => {
    const waits: number[] = [];
    const custody = await open({ pause: (milliseconds) => Promise.resolve(waits.push(milliseconds)) });
    service.setTrouble({ request: 0, kind: { status: 429, retryAfter: '1' }, once: true });
    await custody.wrap(modelKey, context);
    expect(waits).toEqual([1000]);
    service.setTrouble({ request: 0, kind: { status: 429, retryAfter: '60' }, once: true });
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe('custody-unavailable');
    await custody.close();
  });

  it.each([
    ['a silent service', { kind: 'hang' as const }, 'custody-unavailable'],
    ['a redirection', { kind: { status: 307 } }, 'custody-failed'],
    ['no right', { kind: { status: 403 } }, 'custody-denied'],
    ['no such path', { kind: { status: 404 } }, 'custody-failed'],
  ])('refuses %s', async (_title, { kind }, code) => {
    const custody = await open({ timeoutMilliseconds: 200 });
    service.setTrouble({ request: 0, kind });
    expect(await refusalCodeAsync(() => custody.wrap(modelKey, context))).toBe(code);
    await custody.close();
  });

  it('trusts no other authority (KC-30)', async () => {
    const { authorityCertificate } = other;
    expect(await refusalCodeAsync(() => open({ authorityCertificate }))).toBe('custody-denied');
  });

  it.each(['{"data":{"plaintext":"AAAA"}}', '{"data":{}}', 'not JSON', '{"data":{"plaintext":"A"}}', '[['])(
    'refuses the answer %s (KC-34)',
    async (answer) => {
      const custody = await open();
      const wrapped = await custody.wrap(modelKey, context);
      service.saying = answer;
      expect(await refusalCodeAsync(() => custody.unwrap(wrapped, context))).not.toBe('accepted');
      service.saying = undefined;
      expect(await custody.unwrap(wrapped, context)).toEqual(fromHex('07'.repeat(32), 'key'));
      await custody.close();
    },
  );
});
