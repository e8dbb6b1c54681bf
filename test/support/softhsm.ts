/** SoftHSM, a token in software, for tests: Debian's package softhsm2. */

import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { missingPrograms } from './programs.ts';

const LIBRARIES = ['/usr/lib/softhsm/libsofthsm2.so', '/usr/lib64/pkcs11/libsofthsm2.so'];
export const SOFTHSM_LIBRARY = LIBRARIES.find((path) => existsSync(path)) ?? LIBRARIES[0]!;

/** Why tests with a token cannot run here; undefined when they can. */
export const softhsmMissing =
  missingPrograms(['softhsm2-util']).length > 0 || !existsSync(SOFTHSM_LIBRARY)
    ? 'not installed: softhsm2'
    : undefined;

export const TOKEN_PIN = new TextEncoder().encode('7654321');

export interface SoftHsm {
  /** Makes another token. */
  addToken(label: string): Promise<void>;
  /** The environment for programs that use the same tokens. */
  readonly environment: Readonly<Record<string, string>>;
  remove(): Promise<void>;
}

/** Tokens in a folder of their own. The library reads its configuration when it is first initialised in a process. */
export async function startSoftHsm(): Promise<SoftHsm> {
  const folder = await mkdtemp(join(tmpdir(), 'weightgate-softhsm-'));
  await mkdir(join(folder, 'tokens'));
  const configuration = join(folder, 'softhsm2.conf');
  const lines = [
    `directories.tokendir = ${join(folder, 'tokens')}`,
    'objectstore.backend = file',
    'log.level = ERROR',
  ];
  await writeFile(configuration, lines.join('\n'));
  process.env['SOFTHSM2_CONF'] = configuration;
  const environment = { SOFTHSM2_CONF: configuration, PATH: process.env['PATH'] ?? '' };
  return {
    environment,
    addToken: async (label) => {
      const values = ['--init-token', '--free', '--label', label, '--so-pin', '12345678', '--pin', '7654321'];
      await promisify(execFile)('softhsm2-util', values, { env: environment });
    },
    remove: () => rm(folder, { recursive: true, force: true }),
  };
}
