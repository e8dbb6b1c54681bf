import { execFileSync } from 'node:child_process';
import { chmod, readdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

import { readFileBounded, readFileWithMode, writeFileDurably } from '../../src/platform/files.ts';
import { refusalCodeAsync } from '../support/refusal-code.ts';
import { temporaryFolder } from '../support/temporary-folder.ts';

const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);

describe('writing', () => {
  it.each([true, false])('a new file is whole, of its mode and alone (overwrite %s)', async (overwrite) => {
    const folder = await temporaryFolder();
    const path = join(folder, 'file');
    await writeFileDurably(path, bytesOf('content'), 0o600, { overwrite });
    expect(await readFile(path, 'utf8')).toBe('content');
    const { mode, nlink } = await stat(path);
    expect([mode & 0o777, nlink]).toEqual([0o600, 1]);
    expect(await readdir(folder)).toEqual(['file']);
  });

  it('KC-1: of many who make one file at a time one succeeds, and its content stays', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'file');
    const outcomes = await Promise.all(
      Array.from({ length: 16 }, (_, i) =>
        refusalCodeAsync(() => writeFileDurably(path, bytesOf(`${i}`), 0o600, { overwrite: false })),
      ),
    );
    expect(outcomes.filter((outcome) => outcome === 'file-exists')).toHaveLength(15);
    expect(await readFile(path, 'utf8')).toBe(`${outcomes.indexOf('accepted')}`);
    expect(await readdir(folder)).toEqual(['file']);
  });

  it('a link that leads nowhere is something there already', async () => {
    const folder = await temporaryFolder();
    const path = join(folder, 'file');
    await symlink(join(folder, 'elsewhere'), path);
    const write = () => writeFileDurably(path, bytesOf('new'), 0o600, { overwrite: false });
    expect(await refusalCodeAsync(write)).toBe('file-exists');
    expect(await readdir(folder)).toEqual(['file']);
  });

  it('a folder that is not there is refused', async () => {
    const path = join(await temporaryFolder(), 'missing', 'file');
    const write = () => writeFileDurably(path, bytesOf('new'), 0o600, { overwrite: false });
    expect(await refusalCodeAsync(write)).toBe('file-not-written');
  });
});

describe('reading', () => {
  it('gives the content and the permission bits of one open file', async () => {
    const path = join(await temporaryFolder(), 'file');
    await writeFile(path, 'content');
    await chmod(path, 0o640);
    expect(await readFileWithMode(path, 7)).toEqual({ bytes: bytesOf('content'), mode: 0o640 });
    expect(await readFileBounded(path, 7)).toEqual(bytesOf('content'));
    expect(await refusalCodeAsync(() => readFileBounded(path, 6))).toBe('file-too-large');
  });

  it('a FIFO without a writer, a folder and a missing file are refused at once', async () => {
    const folder = await temporaryFolder();
    const fifo = join(folder, 'fifo');
    execFileSync('mkfifo', [fifo]);
    expect(await refusalCodeAsync(() => readFileBounded(fifo, 10))).toBe('file-not-readable');
    expect(await refusalCodeAsync(() => readFileBounded(folder, 10))).toBe('file-not-readable');
    expect(await refusalCodeAsync(() => readFileBounded(join(folder, 'no'), 10))).toBe('file-not-found');
  });
});
