import { generateKeyPairSync } from 'node:crypto';
import { copyFile, readFile, writeFile } from 'node:fs/promises';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runCommand, succeed } from '../support/command-line.ts';
import { Owner } from '../support/owner.ts';

const TIMEOUT = { timeout: 180_000 };

describe('weightgate bundle export-signature and verify-signature', () => {
  let owner: Owner;
  beforeAll(async () => {
    owner = await Owner.create();
    await owner.seal('model', 'bundle');
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' });
    const passphrase = (await readFile(owner.path('passphrase'), 'utf8')).trim();
    const pem = privateKey.export({ type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase });
    await writeFile(owner.path('export.key'), pem, { mode: 0o600 });
    await writeFile(owner.path('export.pub'), publicKey.export({ type: 'spki', format: 'pem' }));
  }, 180_000);
  afterAll(async () => {
    await owner[Symbol.asyncDispose]();
  });

  const exporting = (out: string, key = 'export.key'): readonly string[] => [
    ...['bundle', 'export-signature', owner.path('bundle'), ...owner.profile],
    ...['--key', owner.path(key), '--out', owner.path(out), ...owner.passphrase],
  ];
  const verifying = (signature: string): readonly string[] => [
    ...['bundle', 'verify-signature', owner.path('bundle'), ...owner.profile],
    ...['--signature', owner.path(signature), '--public-key', owner.path('export.pub')],
  ];

  it('SW-60, SW-65: writes a signature that is verified until a byte changes', TIMEOUT, async () => {
    const written = await succeed(...exporting('model.sig'));
    const digest = /manifest ([0-9a-f]{64}) written/.exec(written)?.[1];
    expect(await succeed(...verifying('model.sig'))).toBe(
      `verified the signature over 4 files, manifest ${digest}`,
    );
    const again = await runCommand(...exporting('model.sig'));
    expect([again.exitCode, again.errors]).toEqual([5, expect.stringContaining('[file-exists]')]);
    const weights = owner.path('bundle/model.gguf');
    await copyFile(weights, owner.path('kept'));
    const bytes = await readFile(weights);
    bytes[1000] = (bytes[1000] ?? 0) ^ 1;
    await writeFile(weights, bytes);
    const refused = await runCommand(...verifying('model.sig'));
    await copyFile(owner.path('kept'), weights);
    expect([refused.exitCode, refused.output]).toEqual([1, '']);
    expect(refused.errors).toContain('[sealed-file-digest]');
  });

  it('SW-64: writes nothing into the bundle, and nothing by a key of another kind', TIMEOUT, async () => {
    const inside = await runCommand(...exporting('bundle/model.sig'));
    expect([inside.exitCode, inside.errors]).toEqual([2, expect.stringContaining('[argument-invalid]')]);
    const person = await runCommand(...exporting('other.sig', 'alice.key'));
    expect([person.exitCode, person.errors]).toEqual([3, expect.stringContaining('[pem-malformed]')]);
    await expect(readFile(owner.path('other.sig'))).rejects.toThrow('ENOENT');
  });
});
