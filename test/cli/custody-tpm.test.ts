/** `weightgate custody tpm` as an operator uses it, on the machine and away from it. */

import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { Command } from 'commander';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

import { registerCustodyTpm } from '../../src/cli/commands/custody-tpm.ts';
import { readTpmCustodyFile } from '../../src/keys/tpm/document.ts';
import { openTpmCustody } from '../../src/keys/tpm/tpm-custody.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { startTestTpm, swtpmMissing, type TestTpm } from '../support/swtpm.ts';
import { newTpmCustody, type TestTpmCustody } from '../support/tpm-custody.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

if (swtpmMissing !== undefined) process.stderr.write(`skipped: ${swtpmMissing}\n`);

/** @returns what it printed */
async function run(...args: readonly string[]): Promise<string> {
  const lines: string[] = [];
  const output = vi.spyOn(process.stdout, 'write').mockImplementation((line) => lines.push(String(line)) > 0);
  try {
    const program = new Command('weightgate');
    registerCustodyTpm(program.command('custody'));
    await program.parseAsync(['custody', 'tpm', ...args], { from: 'user' });
    return lines.join('');
  } finally {
    output.mockRestore();
  }
}

describe.skipIf(swtpmMissing !== undefined)('weightgate custody tpm', () => {
  let simulator: TestTpm;
  let custody: TestTpmCustody;
  beforeAll(async () => {
    simulator = await startTestTpm();
    custody = await newTpmCustody(simulator);
  });
  afterAll(async () => {
    await custody.remove();
    await simulator.remove();
  });

  const machine = (): string[] => [
    ...['--file', custody.path, '--approvals', custody.approvals],
    ...['--tpm', simulator.tpm.address],
  ];

  /** The options that `status` prints for `approve`. */
  async function pcrsOfNow(): Promise<readonly string[]> {
    const status = await run('status', ...machine(), '--pcrs', '4,7');
    return status
      .split('\n')
      .filter((line) => line.startsWith('--pcr '))
      .flatMap((line) => line.split(' '));
  }

  const opening = (): Promise<string> =>
    refusalCodeAsync(async () => (await openTpmCustody(custody)).close());

  it('approves with a key under a passphrase, installs, withdraws', async () => {
    const folder = await temporaryFolder();
    const [key, passphrase, approval] = ['key.pem', 'passphrase', 'approval.json'].map((name) =>
      join(folder, name),
    );
    const encryption = {
      type: 'pkcs8',
      format: 'pem',
      cipher: 'aes-256-cbc',
      passphrase: 'correct',
    } as const;
    await writeFile(key!, custody.signer.export(encryption));
    await writeFile(passphrase!, 'correct\n');
    const version = String(custody.firstVersion);
    const terms = ['--file', custody.path, ...(await pcrsOfNow()), '--approval-version', version];
    const secret = ['--key', key!, '--encrypted', '--passphrase-file', passphrase!];
    await run('approve', ...terms, ...secret, '--out', approval!);
    expect(await opening()).toBe('custody-tpm-not-approved');
    const installed = await run('install', approval!, ...machine());
    expect(installed.startsWith(custody.approvals)).toBe(true);
    expect(await opening()).toBe('accepted');
    expect(await run('status', ...machine())).toContain(`approval of version ${version}\n`);
    const below = String(custody.firstVersion + 1);
    expect(await refusalCodeAsync(() => run('withdraw', ...machine(), '--below', below))).toBe(
      'custody-approval-withdrawn',
    );
    expect(await refusalCodeAsync(() => run('close', ...machine()))).toBe('custody-not-closable');
  });

  it('approves with a signature that OpenSSL made elsewhere', async () => {
    const folder = await temporaryFolder();
    const [key, bytes, signature, approval] = ['key.pem', 'bytes', 'signature', 'approval'].map((name) =>
      join(folder, name),
    );
    await writeFile(key!, custody.signer.export({ type: 'pkcs8', format: 'pem' }));
    const terms = [
      ...['--file', custody.path, ...(await pcrsOfNow())],
      ...['--approval-version', String(custody.firstVersion + 5)],
    ];
    await run('approve', ...terms, '--to-sign', bytes!);
    await promisify(execFile)('openssl', ['dgst', '-sha256', '-sign', key!, '-out', signature!, bytes!]);
    await run('approve', ...terms, '--signature', signature!, '--out', approval!);
    await run('install', approval!, ...machine());
    await run('withdraw', ...machine(), '--below', String(custody.firstVersion + 5));
    expect(await opening()).toBe('accepted');
  });

  it('makes a custody for a server, closable until the next start', async () => {
    const folder = await temporaryFolder();
    const [file, signer] = ['custody.json', 'signer.pem'].map((name) => join(folder, name));
    const { publicKey } = generateKeyPairSync('ec', { namedCurve: 'P-384' });
    await writeFile(signer!, publicKey.export({ type: 'spki', format: 'pem' }));
    const place = ['--file', file!, '--approvals', folder, '--tpm', simulator.tpm.address];
    const server = ['--origin', 'example.org/a', '--mode', 'production', '--closing-pcr', '14'];
    const printed = await run('create', ...place, ...server, '--signer', signer!);
    expect(printed).toMatch(/^the lowest version that an approval may have is [0-9]+\n$/);
    expect(await readTpmCustodyFile(file!, { origin: 'example.org/a', mode: 'production' })).toMatchObject({
      closingPcr: 14,
      keys: [{}],
    });
    expect(await refusalCodeAsync(() => run('create', ...place, ...server, '--signer', signer!))).toBe(
      'file-exists',
    );
    await run('close', ...place);
    expect(await run('status', ...place, '--pcrs', '14')).not.toContain(`14=${'00'.repeat(32)}`);
  });

  it('signs with no other key, and takes one way only', async () => {
    const folder = await temporaryFolder();
    const key = join(folder, 'key.pem');
    const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });
    await writeFile(key, privateKey.export({ type: 'pkcs8', format: 'pem' }));
    const terms = ['--file', custody.path, ...(await pcrsOfNow()), '--approval-version', '9'];
    const approve = (...more: readonly string[]): Promise<string> =>
      refusalCodeAsync(() => run('approve', ...terms, ...more));
    expect(await approve('--key', key, '--out', join(folder, 'a'))).toBe('custody-approval-key');
    expect(await approve('--key', key)).toBe('argument-invalid');
    expect(await approve('--out', join(folder, 'a'))).toBe('argument-invalid');
    expect(await approve('--key', key, '--to-sign', join(folder, 'b'), '--out', join(folder, 'a'))).toBe(
      'argument-invalid',
    );
  });
});
