/** The digest of the agent's own program (docs/spec/tpm-agent-measurements.md, section 4). */

import { createHash } from 'node:crypto';
import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';

import { afterEach, beforeEach, describe, expect, it } from 'vitest';

import { toHex } from '../../attestation/core/bytes.ts';
import { digestOfProgram, listProgram } from '../../src/agent/program-digest.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';

const LOCK = {
  packages: {
    '': { name: 'program' },
    'node_modules/used': {},
    'node_modules/used/node_modules/inner': {},
    'node_modules/tool': { dev: true },
    'node_modules/of-another-platform': { optional: true },
  },
};

const FILES: Readonly<Record<string, string>> = {
  'attestation/verify.ts': 'verify',
  'bin/weightgate': 'start',
  'native/open.ts': 'open',
  'package.json': '{}',
  'package-lock.json': JSON.stringify(LOCK),
  'src/main.ts': 'main',
  'src/Zoo.ts': 'upper case comes first',
  'node_modules/used/index.js': 'used',
  'node_modules/used/node_modules/inner/index.js': 'inner',
};
/** What is no part of the program. */
const OTHERS = {
  'README.md': 'read',
  'test/some.test.ts': 'test',
  'node_modules/tool/index.js': 'tool',
  'node_modules/unlisted/index.js': 'unlisted',
  runtime: 'node itself',
};

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

describe('the digest of a program', () => {
  let root: string;
  const write = async (path: string, text: string): Promise<void> => {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  };
  const digest = async (): Promise<string> => toHex(await digestOfProgram(root, join(root, 'runtime')));

  beforeEach(async () => {
    root = await mkdtemp(join(tmpdir(), 'weightgate-program-'));
    for (const [path, text] of Object.entries({ ...FILES, ...OTHERS })) await write(path, text);
  });
  afterEach(() => rm(root, { recursive: true }));

  it('AM-12: is over the lines of sha256sum for its files, its packages and Node.js', async () => {
    const paths = Object.keys(FILES).sort((left, right) => (left < right ? -1 : 1));
    const lines = [
      ...paths.map((path) => `${sha256(FILES[path]!)}  ${path}`),
      `${sha256('node itself')}  node`,
    ];
    expect(await listProgram(root, join(root, 'runtime'))).toEqual(lines);
    expect(await digest()).toBe(sha256(lines.map((line) => `${line}\n`).join('')));
  });

  it.each(Object.keys({ ...FILES, runtime: '' }).filter((path) => path !== 'package-lock.json'))(
    'AM-12: changes with %s',
    async (path) => {
      const before = await digest();
      await write(path, 'changed');
      expect(await digest()).not.toBe(before);
    },
  );

  it('AM-12: changes with a file that is added, and not with what is no part of it', async () => {
    const before = await digest();
    for (const path of Object.keys(OTHERS).filter((name) => name !== 'runtime')) await write(path, 'changed');
    expect(await digest()).toBe(before);
    await write('src/added.ts', '');
    expect(await digest()).not.toBe(before);
  });

  it('AM-13: is refused where a part is neither a file nor a folder, or cannot be read', async () => {
    await symlink('/etc/hostname', join(root, 'src/link.ts'));
    expect(await refusalCodeAsync(digest)).toBe('agent-program-unreadable');
    await rm(join(root, 'src/link.ts'));
    await rm(join(root, 'runtime'));
    expect(await refusalCodeAsync(digest)).toBe('agent-program-unreadable');
    await write('runtime', '');
    await rm(join(root, 'package-lock.json'));
    expect(await refusalCodeAsync(digest)).toBe('agent-program-unreadable');
  });
});
