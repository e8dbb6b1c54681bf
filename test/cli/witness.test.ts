/** A witness, a server that asks it, and an audit that demands it, as people start them. */

import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';

import { afterAll, beforeAll, describe, expect, it } from 'vitest';

import { runCommand, startUntil, succeed, type RunningCommand } from '../support/command-line.ts';
import { Owner } from '../support/owner.ts';

let owner: Owner;
let witness: RunningCommand;
let verifierKey: string;
let address: string;

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}

beforeAll(async () => {
  owner = await Owner.create();
  const profile = JSON.parse(await readFile(owner.path('home/profile.json'), 'utf8')) as { logKey: string };
  address = `127.0.0.1:${await freePort()}`;
  verifierKey = await succeed(
    ...['witness', 'init', owner.path('witness'), '--name', 'witness.example/one', '--log', profile.logKey],
    ...['--listen', address, ...owner.passphrase],
  );
  witness = await startUntil('serving ', 'witness', 'serve', owner.path('witness'), ...owner.passphrase);
  const policy = `witness one ${verifierKey} https://${address}\nquorum one\n`;
  await writeFile(owner.path('home/witnesses.txt'), policy);
  const configuration = await readFile(owner.path('home/weightgate.yaml'), 'utf8');
  await writeFile(
    owner.path('home/weightgate.yaml'),
    configuration
      .replace('policy: null', 'policy: witnesses.txt')
      .replace('authority: null', 'authority: ../witness/tls/authority.pem'),
  );
  await owner.serve();
}, 120_000);

afterAll(async () => {
  witness.child.kill('SIGKILL');
  await owner[Symbol.asyncDispose]();
});

const audit = (...more: readonly string[]) => runCommand('audit', ...owner.profile, ...more);
/** Anything that the server logs. */
const accredit = (organisation: string) =>
  succeed(
    ...['lab', 'accredit', 'lab-a', '--organisation', organisation, '--jurisdiction', 'CH'],
    ...['--lab-key', owner.path('lab-a.key'), '--machine', `rack=${'ab'.repeat(32)}`, ...owner.signed],
  );

describe('weightgate witness', () => {
  it('WT-13, WT-16, WT-21: cosigns what the server logs, and an audit demands it by its own policy', async () => {
    expect(verifierKey).toMatch(/^witness\.example\/one\+[0-9a-f]{8}\+B/);
    const policy = ['--witness-policy', owner.path('home/witnesses.txt')];
    await accredit('Lab A');
    const after = await audit(...policy);
    expect(after.errors).toContain('witnessed: witness.example/one ');
    expect(after.exitCode).toBe(0);
    expect((await audit()).errors).toContain('no witness policy was given');
    const none = await runCommand('witness', 'serve', owner.path('witness'), ...owner.passphrase);
    expect(none.errors).toContain('witness-state-locked');
  }, 120_000);

  it('WT-9: a policy for another log is refused before anything is asked', async () => {
    await writeFile(owner.path('other.txt'), `log ${otherLog}\nquorum none\n`);
    const { exitCode, errors } = await audit('--witness-policy', owner.path('other.txt'));
    expect(errors).toContain('witness-policy-log');
    expect(exitCode).toBe(2);
  });

  it('WT-11, WT-19: while it is away the log goes on and the audit does not hold; killed, it comes back', async () => {
    const policy = ['--witness-policy', owner.path('home/witnesses.txt')];
    witness.child.kill('SIGKILL');
    await witness.outcome;
    await accredit('Lab A, renamed');
    const away = await audit(...policy);
    expect(away.errors).toContain('log-quorum-missing');
    expect(away.exitCode).toBe(4);
    witness = await startUntil('serving ', 'witness', 'serve', owner.path('witness'), ...owner.passphrase);
    await accredit('Lab A, renamed again');
    expect((await audit(...policy)).exitCode).toBe(0);
  }, 120_000);
});

const otherLog = 'vectors.example/alpha+1680eb96+AZUG2hSDqc1mFCL96q0MOGFJpjuF8tMw6wpn1obwsP17';
