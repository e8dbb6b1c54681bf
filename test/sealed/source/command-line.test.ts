import { writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { beforeEach, expect, it } from 'vitest';

import { toBase64 } from '../../../attestation/core/bytes.ts';
import { openManifest } from '../../../src/sealed/manifest.ts';
import { writeServerProfile } from '../../../src/platform/server-profile.ts';
import { runCommand } from '../../support/command-line.ts';
import { startRangeServer } from '../../support/range-server.ts';
import { temporaryFolder } from '../../support/temporary-folder.ts';
import { readFolder, signer, TRUST, writeFolder } from '../fixtures.ts';
import { sealed, startMirror, WEIGHTS } from './mirrored-bundle.ts';

const { digest } = openManifest(sealed.get('weightgate.manifest.json')!, TRUST);

let profile: string;
let folder: string;
beforeEach(async () => {
  folder = await temporaryFolder();
  profile = join(folder, 'profile.json');
  await writeServerProfile(profile, {
    version: 1,
    address: 'https://127.0.0.1:1',
    authorityCertificate: 'none is needed here',
    origin: 'release.example/evaluation',
    mode: 'evaluation',
    logKey: 'none is needed here',
    bundleSigners: [toBase64(signer.publicKey)],
  });
});

it('verify says the same of a folder and of a mirror, and of a mirror that is wrong what is wrong', async () => {
  const server = await startMirror();
  const locations = [writeFolder(sealed), `${server.origin}/pub/`];
  for (const location of locations) {
    const { exitCode, output } = await runCommand('verify', location, '--profile', profile);
    expect(output).toMatch(new RegExp(`^verified 3 files, [0-9]+ bytes, manifest ${digest}\n$`));
    expect(exitCode).toBe(0);
  }
  server.files.get(`pub/${WEIGHTS}`)![7]! ^= 1;
  const wrong = await runCommand('verify', `${server.origin}/pub`, '--profile', profile);
  expect(wrong.errors).toContain('[sealed-file-digest]');
  expect(wrong.exitCode).toBe(1);
  const typo = await runCommand('verify', 'ftp://127.0.0.1/pub', '--profile', profile);
  expect(typo.errors).toContain('[source-address]');
  expect(typo.exitCode).toBe(2);
});

it('SW-39, SW-42: bundle fetch sends the token of its file, and puts the bundle where it was told to', async () => {
  const server = await startRangeServer(sealed);
  const tokenFile = join(folder, 'token');
  writeFileSync(tokenFile, 'hf_secret\n');
  const out = join(folder, 'bundle');
  const args = [
    'bundle',
    'fetch',
    server.origin,
    '--profile',
    profile,
    '--out',
    out,
    '--token-file',
    tokenFile,
  ];
  const { exitCode, output, errors } = await runCommand(...args);
  expect(errors).toBe('');
  expect(output).toMatch(new RegExp(`^fetched 3 files, [0-9]+ bytes, manifest ${digest}\n$`));
  expect(exitCode).toBe(0);
  expect(readFolder(out).size).toBe(sealed.size);
  expect(server.requests.every(({ headers }) => headers.authorization === 'Bearer hf_secret')).toBe(true);
  const again = await runCommand(...args);
  expect(again.errors).toContain('[file-exists]');
  expect(again.exitCode).toBe(5);
});
