import { readdir, readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runCommand, succeed } from '../support/command-line.ts';
import { Owner } from '../support/owner.ts';

const MACHINE = 'ab'.repeat(32);

let owner: Owner;
let publicKey: string;

beforeAll(async () => {
  owner = await Owner.create();
  await owner.serve();
  const shown = await succeed('key', 'show', owner.path('lab-a.key'));
  publicKey = shown.split(' ')[1] ?? '';
}, 120_000);

afterAll(async () => {
  await owner[Symbol.asyncDispose]();
});

const signedBy = (name: string): readonly string[] => [
  ...owner.profile,
  '--key',
  owner.path(`${name}.key`),
  ...owner.passphrase,
];

const accredit = (...more: readonly string[]): readonly string[] => [
  ...['lab', 'accredit', 'lab-a', '--organisation', 'Lab A', '--jurisdiction', 'CH', '--lab-key', publicKey],
  ...['--machine', `machine-1=${MACHINE}`, ...more],
];

describe('a statement of several persons', () => {
  it('CL-7: is made by one, signed by the other elsewhere, and counts once', async () => {
    const file = owner.path('accreditation.json');
    const made = await succeed(...accredit('--statement', file, ...signedBy('alice')));
    expect(made).toContain('lab-accreditation/v1 signed by alice: log entry 2: signature 1 of 2\n');
    const signed = await runCommand('statement', 'sign', file, ...signedBy('bob'));
    expect(signed.errors).toMatch(
      /: accredit lab-a \(Lab A, CH\) with 1 machines until \d{4}-\d{2}-\d{2}\n$/,
    );
    expect(signed).toMatchObject({
      exitCode: 0,
      output: 'lab-accreditation/v1 signed by bob: log entry 3: signature 2 of 2, lab-accredited\n',
    });
    const again = await runCommand('statement', 'sign', file, ...signedBy('alice'));
    expect(again).toMatchObject({
      exitCode: 1,
      errors: expect.stringContaining('[governance-statement-settled]') as string,
    });
  });

  it('is another statement when a byte of it was changed', async () => {
    const file = owner.path('second.json');
    await succeed(...accredit('--statement', file, ...signedBy('alice')));
    const changed = owner.path('changed.json');
    await writeFile(changed, (await readFile(file, 'utf8')).replace('"CH"', '"FR"'));
    const output = await succeed('statement', 'sign', changed, ...signedBy('bob'));
    expect(output).toContain('signature 1 of 2');
  });

  it('CL-1: is refused when its file is no statement', async () => {
    const file = owner.path('no-statement.json');
    await writeFile(file, '{"predicateType":"https://example.org/other"}\n');
    const outcome = await runCommand('statement', 'sign', file, ...signedBy('bob'));
    expect(outcome).toMatchObject({
      exitCode: 3,
      errors: expect.stringContaining('[governance-predicate-unknown]') as string,
    });
  });

  it('CL-2: leaves no file when the server refuses it, and sends nothing when the file exists', async () => {
    const file = owner.path('refused.json');
    const refused = await runCommand(...accredit('--statement', file, ...signedBy('lab-a')));
    expect(refused).toMatchObject({
      exitCode: 1,
      errors: expect.stringContaining('[dsse-threshold]') as string,
    });
    expect(await readdir(owner.folder)).not.toContain('refused.json');
    const exists = await runCommand(
      ...accredit('--statement', owner.path('alice.key'), ...signedBy('alice')),
    );
    expect(exists).toMatchObject({
      exitCode: 5,
      output: '',
      errors: expect.stringContaining('[file-exists]') as string,
    });
  });

  it('CL-5: is not signed when its arguments are wrong; no passphrase is asked for', async () => {
    const hold = await runCommand(
      ...['hold', '--all', '--lab', 'lab-a', '--reason', 'x', ...owner.profile],
      ...['--key', owner.path('alice.key')],
    );
    expect(hold).toMatchObject({
      exitCode: 2,
      errors: expect.stringContaining('[argument-invalid]') as string,
    });
  });
});
